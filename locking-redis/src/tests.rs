//! The script, operation by operation, on a server: what comes late, twice, or at a bad moment.

use std::future::{Future, pending, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fred::interfaces::{ClientLike, EventInterface};
use fred::types::Value;
use locking_core::{Error, ProviderId};
use locking_testkit::servers::{Redis, RedisSetup};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::connection::Connection;
use crate::failure::Failure;
use crate::listener;
use crate::operation::Operation;
use crate::options::RedisOptions;
use crate::pipeline::Pipeline;
use crate::reply::Reply;

const CLIENT: &str = "client0000000000";

/// For how many ms a command may be on its way.
const ON_ITS_WAY: &str = "10000";

struct Script {
    server: Redis,
    pipeline: Arc<Pipeline>,
}

impl Script {
    async fn start() -> Self {
        let server = RedisSetup::new().start().await.expect("a server");
        let pipeline = pipeline(&server).await;
        Self { server, pipeline }
    }

    async fn call(&self, name: &str, keys: &[&str], args: &[&str]) -> Result<Reply, Failure> {
        let keys = keys.iter().map(|key| Value::from(*key)).collect();
        self.pipeline.call(Operation::new(name, keys, args)).await
    }

    /// Acquires for a guard with spare tokens; answers the token, none where it is blocked.
    async fn guard(&self, manner: &str, number: u8, keys: &[&str]) -> Option<String> {
        let request = format!("{CLIENT}{number}");
        let args = [manner, &request, "30000", "g", "16", "owner"];
        let mut reply = self.call("acquire", keys, &args).await.expect("answered");
        matches!(reply.word(), "taken" | "granted").then(|| reply.text().expect("a token"))
    }

    /// Acquires free keys for the owner's lease; answers the token.
    async fn lease(&self, number: u8, keys: &[&str], ms: &str) -> String {
        let request = format!("{CLIENT}{number}");
        let args = ["once", &request, ms, "o", "0", "owner"];
        let mut reply = self.call("acquire", keys, &args).await.expect("answered");
        assert_eq!(reply.word(), "taken");
        reply.text().expect("a token")
    }

    /// Frees all of the owner's leases; answers how many.
    async fn free_owned(&self) -> u64 {
        let freed = self.call("free_owned", &[], &["9999999999999999", "owner", "0", "500"]).await;
        freed.expect("done").unsigned().expect("a number")
    }

    async fn value(&self, key: &str) -> String {
        self.server.command(&["GET", key]).await.expect("answered")
    }

    /// By the guard of this number.
    async fn assert_held(&self, key: &str, number: u8) {
        let value = self.value(key).await;
        assert!(value.contains(&format!("|g|{CLIENT}{number}|")), "{key}: {value}");
    }

    /// Gives back the guard of this number, as its client does.
    async fn give_back(&self, key: &str, token: &str, number: u8) -> i64 {
        self.release_of(key, token, &format!("{CLIENT}{number}")).await
    }

    async fn release(&self, key: &str, token: &str) -> i64 {
        self.release_of(key, token, "").await
    }

    async fn release_of(&self, key: &str, token: &str, origin: &str) -> i64 {
        let done = self.call("release_lease", &[key], &[token, origin]).await;
        done.expect("answered").integer().expect("a number")
    }

    /// Gives back the guard of this number, unless nobody else waits; by its last holder, for 60 s more.
    async fn give_back_or_keep(&self, token: &str, number: u8) -> Result<Reply, Failure> {
        let origin = format!("{CLIENT}{number}");
        self.call("release_or_keep", &["s:a"], &[token, &origin, "16", "60000", "last"]).await
    }

    /// From now on the client hears what it is told.
    async fn listen(&self) {
        let channel = Value::from(format!("s:\0c{CLIENT}"));
        listener::begin(&self.pipeline.connection, &channel).await.expect("subscribed");
    }
}

async fn pipeline(server: &Redis) -> Arc<Pipeline> {
    let options = RedisOptions::new(server.url()).expect("a URL");
    let id = ProviderId::new("script").expect("an id");
    let connection = Connection::open(&id, &options).await.expect("connected");
    let pipeline = Pipeline::new(connection.started(), "s:", Handle::current());
    pipeline.load().await.expect("loaded");
    pipeline
}

fn after(token: &str, by: u64) -> String {
    format!("{:016}", token.parse::<u64>().expect("a token") + by)
}

#[tokio::test]
async fn a_server_without_memory_takes_back_and_extends_what_it_granted() {
    let script = Script::start().await;
    let one = script.guard("once", 1, &["s:a"]).await.expect("free");
    script.guard("once", 2, &["s:b"]).await.expect("free");
    script.server.command(&["CONFIG", "SET", "maxmemory", "1"]).await.expect("set");

    let passed_on = after(&one, 1);
    let origin = format!("{CLIENT}1");
    let extended = script.call("extend", &["s:a"], &["60000", "next", &passed_on, &origin]).await;
    assert_eq!(extended.expect("done").integer().expect("a number"), 0);
    assert_eq!(script.value("s:a").await, format!("lk1|{passed_on}|g|{origin}|next"));

    let request = format!("{CLIENT}2");
    let args = ["1", &request, "30000", "g", "16", "owner", ON_ITS_WAY];
    script.call("withdraw", &["s:b"], &args).await.expect("done");
    assert_eq!(script.value("s:b").await, "");
}

#[tokio::test]
async fn who_enters_a_grant_that_nobody_has_heard_of_has_taken_it() {
    let script = Script::start().await;
    script.listen().await;
    // The owner's index still names the key, from a lease that has ended.
    script.lease(1, &["s:b"], "60000").await;
    script.lease(2, &["s:a"], "1").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let held = script.guard("once", 3, &["s:a"]).await.expect("free");
    let ask = async |manner: &str, number: u8, ms: &str| {
        let request = format!("{CLIENT}{number}");
        let args = [manner, &request, ms, "o", "0", "owner"];
        script.call("acquire", &["s:a"], &args).await.expect("answered")
    };
    assert_eq!(ask("queue", 4, "30000").await.word(), "blocked");
    assert_eq!(script.give_back("s:a", &held, 3).await, 0);
    assert_eq!(
        ask("reenter", 5, "60000").await.word(),
        "blocked",
        "its own client is to hear first"
    );
    let mut entered = ask("once", 6, "60000").await;
    assert_eq!(entered.word(), "granted");
    let token = entered.text().expect("a token");
    assert_eq!(entered.text().expect("how"), "t");
    assert_eq!(script.value("s:a").await, format!("lk1|{token}|o|{CLIENT}6|owner"));
    let mut late = ask("again", 4, "30000").await;
    assert_eq!(late.word(), "granted");
    assert_eq!(late.text().expect("a token"), token);
    assert_eq!(late.text().expect("how"), "r");
}

#[tokio::test]
async fn a_key_that_is_given_back_goes_to_the_first_whose_client_hears_of_it() {
    let script = Script::start().await;
    script.listen().await;
    let held = script.guard("once", 1, &["s:a"]).await.expect("free");
    let gone = ["queue", "gone0000000000001", "30000", "g", "0", "owner"];
    for _ in 0..2 {
        let refused = script.call("acquire", &["s:a"], &gone).await.expect("answered");
        assert_eq!(refused.word(), "blocked");
    }
    assert_eq!(script.guard("queue", 2, &["s:a"]).await, None, "it waits");
    assert_eq!(script.guard("queue", 3, &["s:a"]).await, None, "it waits");

    assert_eq!(script.give_back("s:a", &held, 1).await, 0);
    let value = script.value("s:a").await;
    assert!(value.ends_with(&format!("|g|{CLIENT}2|owner")), "{value:?}");
    let left = script.server.command(&["ZCARD", "s:\0qs:a"]).await.expect("answered");
    assert_eq!(left, "1", "the third one waits");
}

#[tokio::test]
async fn a_server_without_memory_hands_on_what_is_given_back() {
    let script = Script::start().await;
    script.listen().await;
    let held = script.guard("once", 1, &["s:a"]).await.expect("free");
    assert_eq!(script.guard("queue", 2, &["s:a"]).await, None, "it waits");
    script.server.command(&["CONFIG", "SET", "maxmemory", "1"]).await.expect("set");

    assert_eq!(script.give_back("s:a", &held, 1).await, 0);
    let value = script.value("s:a").await;
    assert!(value.ends_with(&format!("|g|{CLIENT}2|owner")), "{value:?}");
}

#[tokio::test]
async fn a_guard_is_kept_for_its_client_where_nobody_else_waits() {
    let script = Script::start().await;
    script.listen().await;
    let first = script.guard("once", 1, &["s:a"]).await.expect("free");
    let mut token = after(&first, 16);
    for waits in [false, true] {
        if waits {
            assert_eq!(script.guard("queue", 2, &["s:a"]).await, None, "its own line waits");
        }
        let mut reply = script.give_back_or_keep(&token, 1).await.expect("answered");
        assert_eq!(reply.word(), "kept", "others wait: {waits}");
        let next = reply.text().expect("a token");
        assert!(next > token, "{next} after {token}");
        // So that a lease of an earlier holder is known as such.
        assert_eq!(script.value("s:a").await, format!("lk1|{token}|g|{CLIENT}1|last"));
        let left = script.server.command(&["PTTL", "s:a"]).await.expect("answered");
        assert!(left.parse::<u64>().expect("a number") > 50_000, "{left} ms are left");
        token = after(&next, 15);
    }
    assert_eq!(script.release("s:a", &first).await, 1, "that one was passed on");

    let other = ["queue", "other000000000001", "30000", "g", "0", "owner"];
    let refused = script.call("acquire", &["s:a"], &other).await.expect("answered");
    assert_eq!(refused.word(), "blocked");
    for lost in [0, 1] {
        let mut reply = script.give_back_or_keep(&token, 1).await.expect("answered");
        assert_eq!(reply.word(), "done");
        assert_eq!(reply.integer().expect("a number"), lost);
        let value = script.value("s:a").await;
        assert!(value.ends_with(&format!("|g|{CLIENT}2|owner")), "it was first: {value:?}");
    }
}

#[tokio::test]
async fn a_server_without_memory_keeps_no_guard_and_can_be_given_it_back() {
    let script = Script::start().await;
    let held = script.guard("once", 1, &["s:a"]).await.expect("free");
    script.server.command(&["CONFIG", "SET", "maxmemory", "1"]).await.expect("set");
    let refused = script.give_back_or_keep(&held, 1).await.map(drop).expect_err("it is full");
    let refused = refused.into_error(&ProviderId::new("script").expect("an id"));
    assert!(matches!(refused, Error::CapacityExceeded { .. }), "{refused:?}");
    assert_eq!(script.give_back("s:a", &held, 1).await, 0);
    assert_eq!(script.value("s:a").await, "");
}

#[tokio::test]
async fn what_is_told_late_of_a_guard_that_was_passed_on_changes_nothing() {
    let script = Script::start().await;
    let one = script.guard("once", 1, &["s:a"]).await.expect("free");
    let (two, three, origin) = (after(&one, 1), after(&one, 2), format!("{CLIENT}1"));
    script.call("rename", &["s:a"], &[&origin, &three, "third"]).await.expect("done");
    let named = script.value("s:a").await;
    assert_eq!(named, format!("lk1|{three}|g|{origin}|third"));

    script.call("rename", &["s:a"], &[&origin, &two, "second"]).await.expect("done");
    assert_eq!(script.value("s:a").await, named);
    let extended = script.call("extend", &["s:a"], &["60000", "second", &two, &origin]).await;
    assert_eq!(extended.expect("done").integer().expect("a number"), 1, "it is lost");
    assert_eq!(script.value("s:a").await, named);
}

#[tokio::test]
async fn a_client_for_which_keys_are_kept_hears_of_it_by_its_first_key() {
    let script = Script::start().await;
    let mut messages = script.pipeline.connection.notices.message_rx();
    script.listen().await;

    let mut held = script.guard("once", 1, &["s:a"]).await.expect("free");
    assert_eq!(script.guard("queue", 2, &["s:a", "s:b"]).await, None, "it waits for a");
    // It is moved on until the free one is kept, which is b.
    for number in 10..=40 {
        let (from, to) = if number % 2 == 0 { ("s:a", "s:b") } else { ("s:b", "s:a") };
        let Some(next) = script.guard("once", number, &[to]).await else { break };
        assert_eq!(script.release(from, &held).await, 0);
        held = next;
    }
    let text = loop {
        let heard = timeout(Duration::from_secs(5), messages.recv()).await.expect("told");
        let text = heard.expect("a message").value.into_string().expect("a text");
        // It is told an empty one first, to see whether it hears; and of its guards, that others gave back.
        if !text.is_empty() && !text.starts_with("revoked") {
            break text;
        }
    };
    let words: Vec<_> = text.split('\0').collect();
    assert_eq!((words[0], words[2]), ("look", "s:a"), "{text:?}");
}

#[tokio::test]
async fn a_release_refuses_a_key_to_few_and_the_next_ones_client_goes_on() {
    let script = Script::start().await;
    script.listen().await;
    let first = script.guard("once", 1, &["s:a"]).await.expect("free");
    let second = script.guard("once", 2, &["s:b"]).await.expect("free");
    for number in 10..30 {
        assert_eq!(script.guard("queue", number, &["s:a", "s:b"]).await, None, "it waits for a");
    }
    assert_eq!(script.guard("queue", 30, &["s:a"]).await, None, "it waits behind them");
    let waiting = async |key| {
        let queue = format!("s:\0q{key}");
        script.server.command(&["ZRANGE", &queue, "0", "-1"]).await.expect("answered")
    };
    let numbers = |queue: String| -> Vec<u8> {
        let requests = queue.split(CLIENT).skip(1);
        requests
            .map(|text| text.split('\0').next().unwrap_or(text).parse().expect("a number"))
            .collect()
    };

    assert_eq!(script.release("s:a", &first).await, 0);
    assert_eq!(numbers(waiting("s:b").await), [10, 11, 12, 13]);
    assert!(script.value("s:a").await.contains(&format!("|r|{CLIENT}14|")), "kept for the next");
    assert_eq!(script.guard("once", 40, &["s:a"]).await, None, "nobody passes those who wait");
    for number in [14, 18, 22, 26] {
        assert_eq!(script.guard("again", number, &["s:a", "s:b"]).await, None, "b is held");
    }
    assert_eq!(numbers(waiting("s:b").await), (10..30).collect::<Vec<_>>(), "in their order");
    let value = script.value("s:a").await;
    assert!(value.contains(&format!("|g|{CLIENT}30|")), "who waits for it alone: {value}");

    assert_eq!(script.release("s:b", &second).await, 0);
    assert_eq!(numbers(waiting("s:a").await), [10, 11, 12, 13], "still in their order");
}

#[tokio::test]
async fn who_came_first_for_one_of_several_free_keys_is_served_first() {
    let script = Script::start().await;
    script.listen().await;
    let both = script.guard("once", 1, &["s:a", "s:b"]).await.expect("free");
    assert_eq!(script.guard("queue", 2, &["s:b"]).await, None, "it waits for b");
    assert_eq!(script.guard("queue", 3, &["s:a", "s:b"]).await, None, "it waits for a");
    let given_back = script.call("release_lease", &["s:a", "s:b"], &[&both, "", &both, ""]).await;
    assert_eq!(given_back.expect("done").integer().expect("a number"), 0);
    script.assert_held("s:b", 2).await;
    assert_eq!(script.value("s:a").await, "");
}

#[tokio::test]
async fn of_keys_that_become_free_together_the_first_come_has_its_own() {
    let script = Script::start().await;
    script.listen().await;
    let first = script.guard("once", 1, &["s:a"]).await.expect("free");
    let second = script.guard("once", 2, &["s:b"]).await.expect("free");
    let third = script.guard("once", 3, &["s:d"]).await.expect("free");
    assert_eq!(script.guard("queue", 10, &["s:a", "s:d"]).await, None, "it waits for a");
    assert_eq!(script.guard("queue", 4, &["s:a", "s:b"]).await, None, "it waits for a");
    assert_eq!(script.release("s:a", &first).await, 0, "they wait for d, and for b");
    let first = script.guard("once", 5, &["s:a"]).await.expect("free");
    assert_eq!(script.guard("queue", 6, &["s:a"]).await, None, "it waits for a");
    assert_eq!(script.release("s:d", &third).await, 0, "its first waits for a again");
    script.guard("once", 7, &["s:d"]).await.expect("free");

    let args = [&*first, "", &*second, ""];
    let given_back = script.call("release_lease", &["s:a", "s:b"], &args).await;
    assert_eq!(given_back.expect("done").integer().expect("a number"), 0);
    script.assert_held("s:a", 4).await;
    script.assert_held("s:b", 4).await;
}

#[tokio::test]
async fn a_key_that_is_kept_in_passing_is_in_nobodys_way_who_came_before() {
    let script = Script::start().await;
    script.listen().await;
    let first = script.guard("once", 1, &["s:a"]).await.expect("free");
    let second = script.guard("once", 2, &["s:b"]).await.expect("free");
    script.guard("once", 3, &["s:c"]).await.expect("free");
    let kept = async || script.value("s:a").await.contains(&format!("|r|{CLIENT}24|"));
    assert_eq!(script.release("s:a", &first).await, 0);
    assert_eq!(script.guard("queue", 10, &["s:a", "s:b"]).await, None, "it waits for b");
    let first = script.guard("once", 11, &["s:a"]).await.expect("free");
    for number in 20..25 {
        assert_eq!(script.guard("queue", number, &["s:a", "s:c"]).await, None, "it waits for a");
    }
    assert_eq!(script.release("s:a", &first).await, 0);
    assert!(kept().await, "for the fifth of those who wait for c");
    assert_eq!(script.release("s:b", &second).await, 0);
    script.assert_held("s:a", 10).await;
    script.assert_held("s:b", 10).await;
}

#[tokio::test]
async fn nothing_is_kept_for_a_client_that_is_gone() {
    let script = Script::start().await;
    let mut held = script.guard("once", 1, &["s:a"]).await.expect("free");
    assert_eq!(script.guard("queue", 2, &["s:a", "s:b"]).await, None, "it waits for a");
    for number in 10..=40 {
        let (from, to) = if number % 2 == 0 { ("s:a", "s:b") } else { ("s:b", "s:a") };
        let next = script.guard("once", number, &[to]).await;
        let next = next.unwrap_or_else(|| panic!("{to} is kept at {number}"));
        assert_eq!(script.release(from, &held).await, 0);
        held = next;
    }
}

#[test]
fn a_runtime_that_ends_under_a_call_leaves_the_outcome_open_and_nobody_waiting() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let (providers, callers) = (runtime(), runtime());
    callers.block_on(async {
        let server = RedisSetup::new().start().await.expect("a server");
        let server = Arc::new(server);
        let pipeline = providers.spawn({
            let server = Arc::clone(&server);
            async move { pipeline(&server).await }
        });
        let pipeline = pipeline.await.expect("connected");
        server.pause().await.expect("paused");
        let call = || {
            let pipeline = Arc::clone(&pipeline);
            let operation = Operation::new("release", vec!["s:a".into()], &[""]);
            tokio::spawn(async move { pipeline.call(operation).await })
        };
        let own: Vec<_> = (0..2).map(|_| call()).collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let together = call();
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Their turns pass to a task of the provider's runtime.
        own.iter().for_each(tokio::task::JoinHandle::abort);
        tokio::time::sleep(Duration::from_millis(50)).await;
        providers.shutdown_background();
        let ended = timeout(Duration::from_secs(5), together).await.expect("in time");
        let failure = ended.expect("no panic").expect_err("nobody answers");
        assert!(matches!(failure, Failure::Unknown(_)), "{failure:?}");
        for _ in 0..4 {
            let ended = timeout(Duration::from_secs(10), call()).await.expect("in time");
            ended.expect("no panic").expect_err("nobody answers");
        }
        server.resume().await.expect("resumed");
    });
}

#[test]
fn a_runtime_that_has_ended_stops_no_call_of_another() {
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
        let (providers, callers) = (runtime(), runtime());
        callers.block_on(async {
            let server = Arc::new(RedisSetup::new().start().await.expect("a server"));
            let pipeline = providers.spawn({
                let server = Arc::clone(&server);
                async move { pipeline(&server).await }
            });
            let pipeline = pipeline.await.expect("connected");
            server.kill().await.expect("killed");
            let is_cut_off = async {
                while pipeline.connection.commands.is_connected() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(Duration::from_secs(10), is_cut_off).await.expect("noticed");
            let ended = providers.handle().clone();
            providers.shutdown_background();
            while !ended.spawn(pending::<()>()).is_finished() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let call = || {
                let pipeline = Arc::clone(&pipeline);
                let operation = Operation::new("release", vec!["s:a".into()], &[""]);
                tokio::spawn(async move { pipeline.call(operation).await })
            };
            // Two have a turn, and wait for a connection; the others for a turn, which nobody watches yet.
            for call in (0..4).map(|_| call()).collect::<Vec<_>>() {
                let ended = timeout(Duration::from_secs(10), call).await.expect("in time");
                ended.expect("no panic").expect_err("nobody answers");
            }
        });
        done.send(()).expect("awaited");
    });
    // Its threads may stand still: then nothing within them notices.
    is_done.recv_timeout(Duration::from_secs(60)).expect("every call ends");
}

#[tokio::test]
async fn an_earlier_copy_of_an_ask_that_was_granted_takes_nothing_after_its_release() {
    let script = Script::start().await;
    let request = format!("{CLIENT}1");
    let args = |manner: &'static str, repeated: &'static str| {
        [manner, request.as_str(), "30000", "a", "0", "", repeated, ON_ITS_WAY].map(str::to_owned)
    };
    let call = async |args: [String; 8]| {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        script.call("acquire", &["s:k"], &args).await.expect("answered")
    };
    for _ in 0..2 {
        // Repeated once more, it is what it was.
        let mut granted = call(args("once", "1")).await;
        assert_eq!(granted.word(), "granted");
        let token = granted.text().expect("a token");
        assert_eq!(script.value("s:k").await.get(4..20), Some(token.as_str()));
    }
    let token = script.value("s:k").await[4..20].to_owned();
    assert_eq!(script.release("s:k", &token).await, 0);
    let late = call(args("once", "0")).await;
    assert_eq!(late.word(), "withdrawn");
    assert_eq!(script.value("s:k").await, "");
}

#[tokio::test]
async fn an_earlier_copy_of_an_ask_that_was_granted_changes_nothing_of_what_was_extended() {
    let script = Script::start().await;
    let request = format!("{CLIENT}1");
    let ask =
        |repeated: &'static str| ["once", &request, "", "o", "0", "owner", repeated, ON_ITS_WAY];
    let mut granted = script.call("acquire", &["s:a"], &ask("1")).await.expect("answered");
    let token = granted.text().expect("a token");
    let extended = script.call("extend", &["s:a"], &["5000", "owner", &token, ""]).await;
    assert_eq!(extended.expect("answered").integer().expect("a number"), 0);
    let late = script.call("acquire", &["s:a"], &ask("0")).await.expect("answered");
    assert_eq!(late.word(), "withdrawn");
    let left = script.server.command(&["PTTL", "s:a"]).await.expect("answered");
    let left: i64 = left.trim().parse().expect("ms");
    assert!((0..=5000).contains(&left), "{left}");
}

#[tokio::test]
async fn an_owners_lease_that_came_by_an_expiry_is_found_by_its_owner() {
    let script = Script::start().await;
    script.guard("once", 1, &["s:a"]).await.expect("free");
    let waiter = format!("{CLIENT}2");
    let ask = |manner: &'static str| [manner, &waiter, "30000", "o", "0", "owner", "0"];
    let waits = script.call("acquire", &["s:a"], &ask("queue")).await.expect("answered");
    assert_eq!(waits.word(), "blocked");
    // As an expiry does, it tells nobody.
    script.server.command(&["DEL", "s:a"]).await.expect("answered");
    let granted = script.call("acquire", &["s:a"], &ask("again")).await.expect("answered");
    assert_eq!(granted.word(), "granted");
    assert_eq!(script.free_owned().await, 1, "the owner's index has it");
}

#[tokio::test]
async fn an_owners_leases_are_found_and_forgotten_with_and_without_an_end() {
    let script = Script::start().await;
    let indexes = async || script.server.command(&["KEYS", "s:\0?owner"]).await.expect("answered");
    let index = async |kind: &str| {
        let name = format!("s:\0{kind}owner");
        let found = script.server.command(&["ZRANGE", &name, "0", "-1"]).await.expect("answered");
        found.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let endless = script.lease(1, &["s:a"], "").await;
    script.lease(2, &["s:b", "s:c"], "30000").await;
    script.lease(3, &["s:d", "s:e"], "").await;
    assert_eq!(index("o").await, ["s:b", "s:c"]);
    assert_eq!(index("p").await, ["s:a", "s:d", "s:e"]);

    script.call("extend", &["s:a"], &["60000", "owner", &endless, ""]).await.expect("done");
    assert_eq!(index("o").await, ["s:b", "s:c", "s:a"]);
    assert_eq!(index("p").await, ["s:d", "s:e"]);
    let ends = script.server.command(&["PTTL", "s:\0oowner"]).await.expect("answered");
    assert!(ends.trim().parse::<u64>().expect("it ends") > 30_000, "with its last lease: {ends}");

    script.call("release", &["s:b", "s:d"], &["owner"]).await.expect("done");
    assert_eq!((index("o").await, index("p").await), (words(&["s:c", "s:a"]), words(&["s:e"])));

    // What was granted after `limit` stays, and is skipped; a page may have some of both.
    script.lease(4, &["s:f"], "10000").await;
    let limit = after(&script.lease(5, &["s:g"], "").await, 0);
    script.lease(6, &["s:h"], "20000").await;
    let (mut freed, mut skip) = (0, 0);
    loop {
        let args = [&limit, "owner", &skip.to_string(), "2"];
        let mut reply = script.call("free_owned", &[], &args).await.expect("answered");
        freed += reply.integer().expect("how many");
        match reply.integer().expect("how many are left") {
            -1 => break,
            left => skip += left,
        }
    }
    assert_eq!(freed, 5);
    assert_eq!((index("o").await, index("p").await), (words(&["s:h"]), words(&[])));
    // Taken without an end after one that has ended, and is still in the index of the other.
    script.lease(7, &["s:i"], "1").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    script.lease(8, &["s:i"], "").await;
    assert_eq!((index("o").await, index("p").await), (words(&["s:h"]), words(&["s:i"])));
    script.call("release", &["s:h", "s:i"], &["owner"]).await.expect("done");
    assert_eq!(indexes().await.trim(), "", "nothing is left of them");
}

#[tokio::test]
async fn the_index_of_an_owners_one_lease_is_its_name_and_becomes_a_list_with_the_next() {
    let script = Script::start().await;
    let release = async |key: &str| {
        let mut done = script.call("release", &[key], &["owner"]).await.expect("done");
        assert_eq!(done.integer().expect("a number"), 1);
    };
    let ends = async |name: &str| {
        let ends = script.server.command(&["PTTL", name]).await.expect("answered");
        ends.trim().parse::<i64>().expect("a number")
    };
    let listed = async || {
        let found = script.server.command(&["ZRANGE", "s:\0oowner", "0", "-1"]).await;
        words(&found.expect("a list").split_whitespace().collect::<Vec<_>>())
    };

    let token = script.lease(1, &["s:a"], "30000").await;
    assert_eq!(script.value("s:\0oowner").await, "s:a");
    assert!((29_000..=30_000).contains(&ends("s:\0oowner").await));
    script.call("extend", &["s:a"], &["60000", "owner", &token, ""]).await.expect("done");
    assert_eq!(script.value("s:\0oowner").await, "s:a");
    assert!(ends("s:\0oowner").await > 50_000, "it ends no earlier than the lease");
    // Entered again for longer, which is another operation.
    let args = ["reenter", "client00000000009", "90000", "o", "0", "owner", "0"];
    let entered = script.call("acquire", &["s:a"], &args).await.expect("answered");
    assert_eq!(entered.word(), "granted");
    assert_eq!(script.value("s:\0oowner").await, "s:a");
    assert!(ends("s:\0oowner").await > 80_000, "it ends no earlier than the lease");

    script.lease(2, &["s:b"], "20000").await;
    assert_eq!(listed().await, ["s:b", "s:a"]);
    assert!(ends("s:\0oowner").await > 80_000, "it ends with the last of them");
    release("s:a").await;
    assert_eq!(listed().await, ["s:b"]);
    assert!((15_000..=20_001).contains(&ends("s:\0oowner").await), "with what is left");
    release("s:b").await;
    assert_eq!(ends("s:\0oowner").await, -2, "nothing is left");

    // Without an end, the one lease is in the other list.
    script.lease(3, &["s:c"], "").await;
    assert_eq!(ends("s:\0oowner").await, -2);
    script.lease(4, &["s:d"], "30000").await;
    assert_eq!(script.value("s:\0oowner").await, "s:d");
    release("s:c").await;
    assert_eq!(script.value("s:\0oowner").await, "s:d");
    // What somebody else removed is named still, until its time is over.
    script.server.command(&["DEL", "s:d"]).await.expect("answered");
    script.lease(5, &["s:e"], "40000").await;
    assert_eq!(listed().await, ["s:d", "s:e"]);
    assert_eq!(script.free_owned().await, 1);
    assert_eq!(script.server.command(&["KEYS", "s:*owner"]).await.expect("answered").trim(), "");

    // One page of an owner that has one lease.
    script.lease(6, &["s:f"], "40000").await;
    assert_eq!(script.free_owned().await, 1);
    assert_eq!(script.server.command(&["KEYS", "s:*owner"]).await.expect("answered").trim(), "");
}

#[tokio::test]
async fn the_operations_of_one_call_draw_tokens_in_their_order() {
    let script = Script::start().await;
    let operation = |number: u8, spare: &str| {
        let key = format!("s:{number}");
        let request = format!("{CLIENT}{number}");
        Operation::new("acquire", vec![key.into()], &["once", &request, "30000", "g", spare, ""])
    };
    let newest = || Operation::new("newest", Vec::new(), &[]);
    let mut last = 0;
    for round in 0..2_u8 {
        let first = 3 * round;
        let operations = [
            operation(first, "0"),
            newest(),
            operation(first + 1, "16"),
            newest(),
            operation(first + 2, "0"),
        ];
        let replies = script.pipeline.send(&operations).await.expect("answered");
        let tokens: Vec<_> = replies
            .into_iter()
            .map(|reply| reply.expect("done").text().expect("a token").parse::<u64>())
            .collect::<Result<_, _>>()
            .expect("numbers");
        let [one, after_one, two, after_two, three] = tokens[..] else { panic!("{tokens:?}") };
        assert!(one > last, "{tokens:?} after {last}");
        assert_eq!(after_one, one, "what is drawn ahead isn't given yet");
        assert_eq!(two, one + 1, "without a gap: the counter must not outrun the clock");
        assert_eq!(after_two, two + 16);
        assert_eq!(three, after_two + 1);
        last = three;
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test]
async fn an_ask_that_is_repeated_leaves_its_owner_what_it_entered_for_longer_meanwhile() {
    let script = Script::start().await;
    let first = format!("{CLIENT}1");
    let ask = ["once", &first, "5000", "o", "0", "owner", ""];
    script.call("acquire", &["s:a"], &ask).await.expect("taken");
    let second = format!("{CLIENT}2");
    let enter = ["once", &second, "60000", "o", "0", "owner", ""];
    script.call("acquire", &["s:a"], &enter).await.expect("entered again");
    // The answer to the first was lost.
    let again = ["once", &first, "5000", "o", "0", "owner", "1", ON_ITS_WAY];
    script.call("acquire", &["s:a"], &again).await.expect("its own");
    let left: i64 = script
        .server
        .command(&["PTTL", "s:a"])
        .await
        .expect("answered")
        .trim()
        .parse()
        .expect("ms");
    assert!(left > 50_000, "{left}");
    assert_eq!(script.free_owned().await, 1, "the owner's index has it");
}

#[tokio::test]
async fn who_enters_a_grant_that_nobody_has_heard_of_keeps_it_as_was_asked() {
    let script = Script::start().await;
    script.listen().await;
    let held = script.guard("once", 1, &["s:a"]).await.expect("free");
    let waiter = format!("{CLIENT}2");
    let wait = ["queue", &waiter, "30000", "o", "0", "owner", ""];
    script.call("acquire", &["s:a"], &wait).await.expect("in the queue");
    assert_eq!(script.release("s:a", &held).await, 0);
    assert!(script.value("s:a").await.contains(&waiter), "it was handed on, for a moment");
    let other = format!("{CLIENT}3");
    let enter = ["once", &other, "", "o", "0", "owner", ""];
    let entered = script.call("acquire", &["s:a"], &enter).await.expect("answered");
    assert_eq!(entered.word(), "granted");
    let left = script.server.command(&["PTTL", "s:a"]).await.expect("answered");
    assert_eq!(left.trim(), "-1", "until it is released");
}

#[tokio::test]
async fn a_guard_is_only_its_own_clients_to_give_back() {
    let script = Script::start().await;
    let held = script.guard("once", 1, &["s:a"]).await.expect("free");
    assert_eq!(script.release_of("s:a", &held, "ffffffffffffffff").await, 1, "it isn't theirs");
    assert_eq!(script.release_of("s:a", &held, CLIENT).await, 0, "it is");
}

#[tokio::test]
async fn calls_that_nobody_polls_do_not_hold_up_others() {
    let script = Script::start().await;
    let mut begun: Vec<_> = ["s:a", "s:b"]
        .map(|key| {
            let request = format!("{CLIENT}{key}");
            let args = ["once", &request, "30000", "g", "16", "owner"];
            let operation = Operation::new("acquire", vec![key.into()], &args);
            Box::pin(script.pipeline.call(operation))
        })
        .into();
    for call in &mut begun {
        let begins = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending()));
        assert!(begins.await, "it isn't answered yet");
    }
    let other = script.guard("once", 3, &["s:c"]);
    timeout(Duration::from_secs(1), other).await.expect("it has a turn").expect("free");
    for call in begun {
        call.await.expect("answered");
    }
    assert!(script.guard("once", 4, &["s:d"]).await.is_some(), "turns come as before");
}

#[tokio::test]
async fn a_call_is_small_while_it_waits_for_its_turn() {
    let script = Script::start().await;
    let call = script.pipeline.call(Operation::new("newest", Vec::new(), &[]));
    // Each acquire is a box that holds it several times over.
    assert!(size_of_val(&call) <= 2048, "{} bytes", size_of_val(&call));
}
