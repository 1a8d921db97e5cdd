//! What nobody may read in what a client says.

use std::sync::Arc;
use std::time::Duration;

use locking_core::{Error, LockingModule};
use tokio::time::Instant;

use super::trial::AGAIN;
use crate::fixture::Fixture;
use crate::overheard::Overheard;
use crate::own_server::Stop;
use crate::support::{LONG, SHORT, SOON};

pub(crate) async fn they_are_in_no_log_no_error_and_no_debug_text(f: Fixture) {
    let (f, overheard) = (Arc::new(f), Overheard::start());
    let connecting = Arc::clone(&f);
    let client = overheard.run(async move { connecting.client().await }).await;
    overheard.shown(&client);
    let module = LockingModule::with_provider(client);
    overheard.shown(&module);
    // What was given back just before a crash may be held again until it expires.
    let (before, after) = (f.key("before"), f.key("after"));
    // While the server answers, while it is gone, and when it is there again.
    work(&overheard, &module, &before).await;
    f.server().stop(Stop::Crash).await;
    let refused = work(&overheard, &module, &after).await;
    assert!(!refused.is_empty(), "nobody could be asked");
    f.server().start_again().await;
    let give_up = Instant::now() + AGAIN * 2;
    loop {
        let failed = work(&overheard, &module, &after).await;
        if failed.is_empty() {
            break;
        }
        assert!(Instant::now() < give_up, "it works again: {failed:?}");
    }
    let closing = module.clone();
    let closed = overheard.run(async move { closing.close(SOON).await.err() }).await;
    closed.iter().for_each(|error| overheard.failed(error));
    let said = overheard.said();
    assert!(said.contains("locking.acquire"), "nothing was heard: {said}");
    for secret in f.server().secrets() {
        let told = said.lines().find(|line| line.contains(&secret));
        assert_eq!(told, None, "`{secret}` is a secret");
    }
}

/// Has a client do what clients do. Answers what of it failed.
async fn work(overheard: &Overheard, module: &LockingModule, key: &str) -> Vec<Error> {
    let (module, key) = (module.clone(), key.to_owned());
    let failed: Vec<Error> = overheard
        .run(async move {
            let mut failed = Vec::new();
            match module.acquire(&key).expire(SHORT).wait(Duration::from_millis(700)).await {
                Err(error) => failed.push(error),
                Ok(lease) => {
                    failed.extend(module.extend(&lease, LONG).await.err());
                    failed.extend(module.release_lease(&lease).await.err());
                }
            }
            failed.extend(module.execute(&key, async |_| ()).timeout(SHORT).await.err());
            failed.extend(module.release(&key).await.err());
            failed.extend(module.release_all().owner("o").await.err());
            failed.extend(module.migrate().await.err());
            failed
        })
        .await;
    failed.iter().for_each(|error| overheard.failed(error));
    failed
}
