//! Keys and owners are any text within their limits.

use locking_core::{Error, LockKey, OwnerId};

use crate::fixture::Fixture;
use crate::support::{assert_answer, is_free};

/// Texts that a careless store would take for one another, or for something else.
const TEXTS: &[&str] = &[
    "a",
    "A",
    "á",
    "a\u{301}",
    "ab",
    "a ",
    " a",
    "a\n",
    "a\t",
    "a*",
    "a?",
    "[a]",
    "{a}",
    "{a}b",
    "a:b",
    "a::b",
    "a/b",
    "a\\b",
    "a'b",
    "a\"b",
    "a;b",
    "a--b",
    "a%b",
    "a_b",
    "a|b",
    "a,b",
    "1",
    "01",
    "1.0",
    "null",
    "true",
    "0",
    "-1",
    "🔒",
    "🔒🔒",
    "ß",
    "ss",
    "İ",
    "i\u{307}",
    "a:q",
    "a:f",
    "*a",
    "$1",
    "${a}",
    "%s",
    "\u{feff}a",
    "\u{200b}a",
    // The same for hashes of 32 bits: CRC-32, those that multiply by 31, and by 33.
    "plumless",
    "buckeroo",
    "Aa",
    "BB",
    "Ab",
    "BA",
];

pub(crate) async fn different_keys_never_meet(f: Fixture) {
    let base = f.key("");
    let keys: Vec<String> = TEXTS.iter().map(|text| format!("{base}{text}")).collect();
    for key in &keys {
        f.a.acquire(key).owner("o").await.unwrap_or_else(|error| panic!("{key:?}: {error}"));
    }
    for key in &keys {
        assert_answer!(f.b.acquire(key).await, Err(Error::Held { .. }), "{key:?} is held");
    }
    for (at, key) in keys.iter().enumerate() {
        assert!(f.b.release(key).owner("o").await.expect("answered"), "{key:?} is its own");
        assert!(is_free(&f.b, key).await, "{key:?} is free");
        if let Some(next) = keys.get(at + 1) {
            assert!(!is_free(&f.b, next).await, "{next:?} isn't yet");
        }
    }
}

pub(crate) async fn keys_of_every_length_are_kept_apart(f: Fixture) {
    let longest = LockKey::MAX_LEN;
    let padded = |length: usize, end: char| {
        let base = f.key("");
        format!("{base}{}{end}", "x".repeat(length - base.len() - 1))
    };
    let keys = [padded(longest, 'a'), padded(longest, 'b'), padded(longest - 1, 'a')];
    let alone = ["k", "\u{1}", "🔒"];
    for key in keys.iter().map(String::as_str).chain(alone) {
        f.a.acquire(key).await.unwrap_or_else(|error| panic!("{} bytes: {error}", key.len()));
        assert_answer!(f.b.acquire(key).await, Err(Error::Held { .. }), "{} bytes", key.len());
    }
    for key in keys.iter().map(String::as_str).chain(alone) {
        assert!(f.a.release(key).await.expect("answered"), "{} bytes", key.len());
    }
}

pub(crate) async fn owners_are_any_text_and_compared_byte_by_byte(f: Fixture) {
    let key = f.key("k");
    let longest = "o".repeat(1024);
    for owner in TEXTS.iter().copied().chain([longest.as_str()]) {
        f.a.acquire(&key).owner(owner).await.unwrap_or_else(|error| panic!("{owner:?}: {error}"));
        let at = TEXTS.iter().position(|text| *text == owner).unwrap_or(0);
        // Its neighbours are those that it could be taken for.
        let near = TEXTS.iter().enumerate().filter(|(n, _)| n.abs_diff(at) <= 4);
        for (_, other) in near.filter(|(_, other)| **other != owner) {
            let refused = f.b.acquire(&key).owner(*other).await;
            assert_answer!(refused, Err(Error::Held { .. }), "{other:?} is not {owner:?}");
            assert!(!f.b.release(&key).owner(*other).await.expect("answered"), "{other:?}");
        }
        assert!(f.b.release(&key).owner(owner).await.expect("answered"), "{owner:?}");
    }
}

pub(crate) async fn an_owner_is_found_by_its_whole_name(f: Fixture) {
    let (short, long) = (f.key("1"), f.key("2"));
    f.a.acquire(&short).owner("user").await.expect("free");
    f.a.acquire(&long).owner("user_1").await.expect("free");
    assert_eq!(f.b.release_all().owner("user").await.expect("answered"), 1);
    assert!(is_free(&f.b, &short).await && !is_free(&f.b, &long).await);
}

/// Owners that a prefix, a pattern, a separator or too short a column would take for one another:
/// patterns before those that they match.
fn like_owners() -> Vec<String> {
    let longest = |end: &str| format!("{}{end}", "o".repeat(OwnerId::MAX_LEN - 1));
    let short = ["w%", "w*", "w_1", "[ab]", "worker", "worker:1", "wX1", "a", "a ", " a"];
    short.map(str::to_owned).into_iter().chain(["a", "b"].map(longest)).collect()
}

pub(crate) async fn owners_with_like_names_exclude_each_other(f: Fixture) {
    let (key, owners) = (f.key("k"), like_owners());
    for owner in &owners {
        f.a.acquire(&key).owner(owner).await.expect("free");
        for other in owners.iter().filter(|other| *other != owner) {
            let refused = f.b.acquire(&key).owner(other).await;
            assert_answer!(refused, Err(Error::Held { .. }), "{other:?} is not {owner:?}");
        }
        assert!(f.b.release(&key).owner(owner).await.expect("answered"), "{owner:?}");
    }
}

pub(crate) async fn owners_with_like_names_free_only_their_own(f: Fixture) {
    let key = |n: usize| f.key(&n.to_string());
    let owners = like_owners();
    for (n, owner) in owners.iter().enumerate() {
        f.a.acquire(key(n)).owner(owner).await.expect("free");
    }
    for (n, owner) in owners.iter().enumerate() {
        assert_eq!(f.b.release_all().owner(owner).await.expect("answered"), 1, "{owner:?}");
        assert!(is_free(&f.b, &key(n)).await, "{owner:?} holds nothing");
        for (n, other) in owners.iter().enumerate().skip(n + 1) {
            assert!(!is_free(&f.b, &key(n)).await, "{other:?} is not {owner:?}");
        }
    }
}
