//! Random work over a network and on a server that fail at random, judged by its history.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use locking_core::{Capability, LockingModule};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::hangs::until_usable;
use super::histories::keeps_every_promise;
use crate::faults::{Cut, Direction, Fault, Proxy, Since};
use crate::fixture::{Fixture, Scale};
use crate::history::Workload;
use crate::own_server::Stop;
use crate::support::{LONG, ms, until_within};

pub(crate) async fn random_work_under_random_faults_breaks_no_promise(f: Fixture) {
    let (rounds, time) = match f.scale() {
        Scale::Hundredth => (1, Duration::from_secs(5)),
        Scale::Full => (20, Duration::from_secs(30)),
    };
    let baseline = f.entries().await;
    let (mut clients, mut modules, mut troubled) = (Vec::new(), Vec::new(), JoinSet::new());
    let faults = Arc::new(AtomicUsize::new(0));
    let mut proxies = Vec::new();
    for _ in 0..4 {
        let proxy = Arc::new(f.proxy().await);
        let client = f.client_at(proxy.address()).await;
        modules.push(LockingModule::with_provider(Arc::clone(&client)));
        clients.push(client);
        troubled.spawn(trouble(Arc::clone(&proxy), Arc::clone(&faults)));
        proxies.push(proxy);
    }
    // One to whom nothing happens but by the server.
    clients.push(f.client().await);
    let (mut operations, mut holds) = (0, 0);
    for round in 1..=rounds {
        let expiry = ms(if round % 2 == 0 { 150 } else { 500 });
        let workload = Workload::new().with_time(time).with_expiry(expiry);
        let crowd = workload.clone().with_keys(1).with_crowd(24);
        let done = AtomicBool::new(false);
        let working = async {
            let histories = tokio::join!(
                workload.run(&clients, |n| f.key(&n.to_string())),
                crowd.run(&clients, |_| f.key("crowd"))
            );
            done.store(true, Ordering::Relaxed);
            histories
        };
        let ((some, crowded), ()) = tokio::join!(working, trouble_the_server(&f, &faults, &done));
        for (history, workload) in [(some, &workload), (crowded, &crowd)] {
            keeps_every_promise(&history, workload);
            (operations, holds) = (operations + history.operations, holds + history.holds());
        }
        if f.scale() == Scale::Full {
            let faults = faults.load(Ordering::Relaxed);
            eprintln!(
                "soak, {round} of {rounds}: {operations} operations, {holds} holds, {faults} faults"
            );
        }
    }
    assert!(holds > 0, "something was done");
    troubled.shutdown().await;
    proxies.iter().for_each(|proxy| proxy.restore());
    for (n, module) in modules.iter().enumerate() {
        until_usable(module, &f.key(&format!("again{n}"))).await;
    }
    until_within(LONG, "the store is back at its baseline", || async {
        f.entries().await <= baseline
    })
    .await;
}

/// One client's network.
async fn trouble(proxy: Arc<Proxy>, faults: Arc<AtomicUsize>) {
    loop {
        sleep(ms(fastrand::u64(1..80))).await;
        faults.fetch_add(1, Ordering::Relaxed);
        let direction = if fastrand::bool() { Direction::ToServer } else { Direction::ToClient };
        let cut = if fastrand::bool() { Cut::Reset } else { Cut::Close };
        let a_while = ms(fastrand::u64(1..300));
        match fastrand::u8(..8) {
            0 => proxy.cut(cut),
            1 => {
                let connections = proxy.connections();
                if let Some(connection) = fastrand::choice(&connections) {
                    connection.cut(cut);
                }
            }
            2 => proxy.inject(Fault::LoseReply { cut }),
            3 => {
                let bytes = fastrand::u64(..2_000);
                proxy.inject(Fault::CutAfter { direction, bytes, since: Since::Now, cut });
            }
            4 => {
                proxy.inject(Fault::Delay { direction, by: ms(fastrand::u64(1..60)) });
                sleep(a_while).await;
                proxy.restore();
            }
            5 => {
                proxy.inject(Fault::Hold { direction });
                sleep(a_while).await;
                proxy.restore();
            }
            6 => {
                // A half of it is dead, until somebody says so.
                proxy.inject(Fault::Swallow { direction });
                sleep(a_while).await;
                proxy.restore();
                proxy.cut(cut);
            }
            _ => {
                proxy.refuse();
                proxy.cut(cut);
                sleep(a_while).await;
                proxy.restore();
            }
        }
    }
}

/// Everybody's server.
async fn trouble_the_server(f: &Fixture, faults: &AtomicUsize, done: &AtomicBool) {
    let survives = f.capabilities().has(Capability::SurvivesRestart);
    while !done.load(Ordering::Relaxed) {
        sleep(ms(fastrand::u64(1..300))).await;
        faults.fetch_add(1, Ordering::Relaxed);
        match fastrand::u8(..10) {
            0..=3 => f.server().forget_prepared().await,
            4..=7 => f.server().cut_notifications().await,
            8 if survives => {
                f.server().stop(if fastrand::bool() { Stop::Crash } else { Stop::Clean }).await;
                f.server().start_again().await;
            }
            _ => {
                f.server().pause().await;
                sleep(ms(fastrand::u64(10..250))).await;
                f.server().resume().await;
            }
        }
    }
}
