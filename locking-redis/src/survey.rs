use std::collections::BTreeMap;
use std::time::Duration;

use fred::types::Value;
use locking_core::{LockInfo, LockKey, OwnerId, ReleaseScope};

use crate::failure::Failure;
use crate::operation::Operations;
use crate::store::Store;
use crate::value::Held;

/// How many keys are looked at in one command.
const PAGE: i64 = 500;

/// Frees what the scope covers; answers how many. Only what was held when this began: whatever is
/// granted later has a greater token.
pub(crate) async fn release_all(store: &Store, scope: &ReleaseScope) -> Result<u64, Failure> {
    let limit = store.call(Operations::newest()).await?.text()?;
    match &scope.owner {
        Some(owner) if !scope.including_running => free_owned(store, owner, &limit).await,
        _ => free_scanned(store, scope, &limit).await,
    }
}

async fn free_owned(store: &Store, owner: &OwnerId, limit: &str) -> Result<u64, Failure> {
    let mut freed = 0;
    loop {
        let (mut skip, before) = (0, freed);
        loop {
            let mut reply = store.call(Operations::free_owned(limit, owner, skip, PAGE)).await?;
            freed += reply.unsigned()?;
            match reply.integer()? {
                -1 => break,
                left => skip += left,
            }
        }
        // What was left may have gone since, and others have moved up to places that were passed already.
        if skip == 0 || freed == before {
            return Ok(freed);
        }
    }
}

async fn free_scanned(store: &Store, scope: &ReleaseScope, limit: &str) -> Result<u64, Failure> {
    let mut freed = 0;
    let mut pages = Pages::new(store);
    while let Some(keys) = pages.next().await? {
        let keys: Vec<_> = keys.iter().map(|key| store.operations.key(key.as_str())).collect();
        let (running, owner) = (scope.including_running, scope.owner.as_ref());
        freed += store.call(Operations::free_all(keys, limit, running, owner)).await?.unsigned()?;
    }
    Ok(freed)
}

/// Who holds what, in the byte order of the keys.
pub(crate) async fn list(store: &Store) -> Result<Vec<(LockInfo, String)>, Failure> {
    let mut found = BTreeMap::new();
    let mut pages = Pages::new(store);
    while let Some(keys) = pages.next().await? {
        for (info, request) in inspect(store, keys).await? {
            found.insert(info.key.clone(), (info, request));
        }
    }
    Ok(found.into_values().collect())
}

/// Who holds these keys, and the request by which the server knows the hold; those that nobody holds are
/// left out.
pub(crate) async fn inspect(
    store: &Store,
    keys: Vec<LockKey>,
) -> Result<Vec<(LockInfo, String)>, Failure> {
    let names = keys.iter().map(|key| store.operations.key(key.as_str())).collect();
    let mut reply = store.call(Operations::inspect(names)).await?;
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let (value, left) = (reply.foreign_text()?, reply.integer()?);
        // -2: there is none. A key of another type is somebody's lock without a value.
        let Some(held) = Held::read(&value).filter(|_| left != -2) else { continue };
        let left = u64::try_from(left).ok().map(Duration::from_millis);
        let info = LockInfo::new(key, held.token, held.kind)
            .with_owner(held.owner())
            .with_expires_in(left);
        found.push((info, held.request.to_owned()));
    }
    Ok(found)
}

/// The locks of the namespace, a page at a time: a lock that is there all the while is in one of them,
/// and may be in several.
struct Pages<'a> {
    store: &'a Store,
    pattern: Value,
    /// `None` after the last.
    cursor: Option<String>,
}

impl<'a> Pages<'a> {
    fn new(store: &'a Store) -> Self {
        let pattern = store.operations.key("").into_string().unwrap_or_default();
        let pattern = format!("{}*", escaped(&pattern));
        Self { store, pattern: pattern.into(), cursor: Some("0".to_owned()) }
    }

    async fn next(&mut self) -> Result<Option<Vec<LockKey>>, Failure> {
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        let args = vec![
            cursor.into(),
            "MATCH".into(),
            self.pattern.clone(),
            "COUNT".into(),
            PAGE.to_string().into(),
        ];
        let page = self.store.pipeline.connection.send("SCAN", args).await?;
        let Value::Array(page) = page else { return Err(Failure::unexpected()) };
        let mut page = page.into_iter();
        let cursor = page.next().and_then(Value::into_string);
        let (Some(cursor), Some(Value::Array(names))) = (cursor, page.next()) else {
            return Err(Failure::unexpected());
        };
        self.cursor = (cursor != "0").then_some(cursor);
        // Companions have a NUL in their names, which no lock has.
        let names = names.into_iter().filter_map(Value::into_string);
        Ok(Some(names.filter_map(|name| self.store.operations.lock(&name)).collect()))
    }
}

/// A text as a pattern that matches just it.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glob_characters_of_a_namespace_match_themselves() {
        assert_eq!(escaped(r"a*[b]?\:"), r"a\*\[b\]\?\\:");
    }
}
