//! Providers in situations that the contract suite doesn't make.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use locking_core::{Error, LockingModule, LockingProvider, OwnerId, Result};
use locking_testkit::servers::{PgBouncer, Postgres};
use tokio::time::{sleep, timeout};

use super::{connector, id, key, lease, options, provider, server};
use crate::connect::Connector;
use crate::migrate::migrate;
use crate::options::PostgresOptions;
use crate::provider::PostgresProvider;

async fn execute(server: &Postgres, sql: &str) -> String {
    server.command(sql).await.expect("executed")
}

/// A transaction that holds the guard of a key until it is dropped.
async fn hold_guard(server: &Postgres, key: &str) -> tokio_postgres::Client {
    let (client, connection) = connector(&server.url()).session().await.expect("connected");
    tokio::spawn(connection.run());
    let sql =
        format!("SET search_path = locking; BEGIN; SELECT locking_enter(ARRAY['{key}'], 16, 1000)");
    client.batch_execute(&sql).await.expect("entered");
    client
}

#[tokio::test]
async fn of_two_releases_in_one_statement_the_first_gave_the_hold_back() {
    let server = server().await;
    let provider = provider(options(&server)).await;
    let keys = ["k", "l"].map(key);
    let owner = OwnerId::new("owner").expect("an owner");
    for key in &keys {
        let request = lease(key.as_str()).with_owner(owner.clone());
        provider.acquire(request).await.expect("granted");
    }
    let released = execute(
        &server,
        r#"SELECT locking.locking_release(16, 1000, true, '{k,l,k}', '{owner,owner,owner}', '{0,0,0}', '{"","",""}')"#,
    );
    assert_eq!(released.await, "{t,t,f}");

    // And if the first means another hold, the second did.
    provider.acquire(lease("k").with_owner(owner.clone())).await.expect("granted");
    let released = execute(
        &server,
        r#"SELECT locking.locking_release(16, 1000, true, '{k,k,l}', '{other,owner,owner}', '{0,0,0}', '{"","",""}')"#,
    );
    assert_eq!(released.await, "{f,t,f}");
    assert_eq!(execute(&server, "SELECT count(*) FROM locking.locking").await, "0");
    provider.close().await.expect("closed");
}

#[tokio::test]
async fn a_release_reads_nothing_of_the_queues_of_other_keys() {
    let server = server().await;
    let held = "INSERT INTO locking.locking
                    SELECT 'k' || n, n, 'o', 'ask' || n, 'owner', 'infinity' FROM generate_series(1, 2000) n;
                INSERT INTO locking.locking_guard
                    SELECT 'g' || n, n, 'g', 'ask' || n, '', 'infinity', 0 FROM generate_series(1, 2000) n";
    execute(&server, held).await;
    // The statistics say that nobody waits, and the session keeps the plans that it makes by them.
    execute(&server, "VACUUM ANALYZE").await;
    let session = session(&server).await;
    let release = async |from: i32| {
        let keys = format!("{{k{from},k{},k{}}}", from + 1, from + 2);
        let leases = format!(
            "SELECT locking.locking_release(16, 1000, true, '{keys}', '{{owner,owner,owner}}', '{{0,0,0}}', '{{\"\",\"\",\"\"}}')::text"
        );
        let guards = format!(
            "SELECT locking.locking_release(16, 1000, false, '{}', '{{NULL,NULL,NULL}}', '{{{from},{},{}}}', '{{ask{from},ask{},ask{}}}')::text",
            keys.replace('k', "g"),
            from + 1,
            from + 2,
            from + 1,
            from + 2
        );
        for release in [leases, guards] {
            let row = session.query_one(&release, &[]).await.expect("answered");
            assert_eq!(row.get::<_, &str>(0), "{t,t,t}");
        }
    };
    release(1).await;
    let waiting = "INSERT INTO locking.locking_queue
                       SELECT 'other' || n, n, 'ask' || n, 'g', '', 1000, 0, false, NULL, false, 0, now()
                       FROM generate_series(1, 20000) n";
    execute(&server, waiting).await;
    session.batch_execute("BEGIN").await.expect("begun");
    release(4).await;
    let blocks = "SELECT (pg_stat_get_xact_blocks_fetched('locking.locking_queue_pkey'::regclass)
                  + pg_stat_get_xact_blocks_fetched('locking.locking_queue'::regclass))::integer";
    let blocks = number(&session, blocks).await;
    assert!(blocks < 40, "{blocks} blocks of the queue were read to release 6 keys");
}

/// For how long a key is still held, in seconds; `inf` for ever.
async fn held_for(server: &Postgres) -> f64 {
    let left = "SELECT CASE WHEN expires = 'infinity' THEN 'inf' \
                ELSE extract(epoch FROM expires - clock_timestamp())::text END FROM locking.locking";
    execute(server, left).await.parse().expect("seconds")
}

/// Asks for `k` by its owner's lease.
async fn enter(server: &Postgres, manner: &str, repeated: bool, request: &str, ms: &str) -> String {
    let acquire = format!(
        "SELECT blocked FROM locking.locking_acquire(
             16, 1000, 0, true, '{manner}', {repeated}, '{request}', 'o', 'owner', {ms}, '{{k}}')"
    );
    execute(server, &acquire).await
}

/// Sets what is left of the lease on `k` to 5 s.
async fn shorten(server: &Postgres) {
    execute(
        server,
        r#"SELECT locking.locking_extend(
               16, 1000, '{1}', '{k}', ARRAY[(SELECT token FROM locking.locking)], '{""}', '{owner}', '{5000}')"#,
    )
    .await;
}

#[tokio::test]
async fn an_ask_that_is_repeated_leaves_its_owner_what_it_entered_for_longer_meanwhile() {
    let server = server().await;
    assert_eq!(enter(&server, "once", false, "first", "5000").await, "0");
    assert_eq!(enter(&server, "once", false, "second", "60000").await, "0");
    // The answer to the first was lost.
    assert_eq!(enter(&server, "once", true, "first", "5000").await, "0");
    let left = held_for(&server).await;
    assert!(left > 50.0, "{left}");
}

#[tokio::test]
async fn an_earlier_copy_of_an_ask_that_was_granted_changes_nothing_of_what_was_extended() {
    let server = server().await;
    assert_eq!(enter(&server, "once", true, "first", "NULL").await, "0");
    shorten(&server).await;
    assert_eq!(enter(&server, "once", false, "first", "NULL").await, "-1");
    let left = held_for(&server).await;
    assert!(left <= 5.0, "{left}");
}

#[tokio::test]
async fn who_enters_a_grant_that_nobody_has_heard_of_keeps_it_as_was_asked() {
    let server = server().await;
    execute(
        &server,
        "SELECT locking.locking_acquire(16, 1000, 0, true, 'once', false, 'other', 'o', 'other', 30000, '{k}')",
    )
    .await;
    assert_eq!(enter(&server, "queue", false, "waiter", "60000").await, "1");
    execute(
        &server,
        r#"SELECT locking.locking_release(16, 1000, true, '{k}', '{other}', '{0}', '{""}')"#,
    )
    .await;
    let left = held_for(&server).await;
    assert!(left <= 0.3, "it was handed on, for a moment: {left}");
    assert_eq!(enter(&server, "once", false, "entering", "NULL").await, "0");
    assert!(held_for(&server).await.is_infinite(), "until it is released");
    // Once it was told, an absent expiry changes nothing.
    assert_eq!(enter(&server, "once", false, "brief", "NULL").await, "0");
    shorten(&server).await;
    assert_eq!(enter(&server, "once", false, "again", "NULL").await, "0");
    let left = held_for(&server).await;
    assert!(left <= 5.0, "{left}");
}

#[tokio::test]
async fn a_guard_is_only_its_own_clients_to_end() {
    let server = server().await;
    for pgbouncer in [false, true] {
        let client = async || {
            let mut options = options(&server);
            options.pgbouncer = pgbouncer;
            LockingModule::with_provider(Arc::new(provider(options).await))
        };
        let (own, other) = (client().await, client().await);
        let guard = own.lock("k").await.expect("free");
        let lease = guard.lease();
        let also = other.acquire("l").await.expect("free");
        let (one, two) = tokio::join!(
            other.release_lease(lease).into_future(),
            other.release_lease(&also).into_future()
        );
        assert!(!one.expect("answered") && two.expect("answered"), "together with another");
        assert!(!other.release_lease(lease).await.expect("answered"), "by itself");
        let extended = other.extend(lease, Duration::from_secs(1)).await;
        assert!(matches!(extended, Err(Error::Lost { .. })), "{extended:?}");
        guard.release().await.expect("held to the end");
        for module in [own, other] {
            module.close(Duration::from_secs(1)).await.expect("closed");
        }
    }
}

#[tokio::test]
async fn a_release_tells_only_some_of_those_who_want_another_key_too() {
    let server = server().await;
    execute(
        &server,
        "SELECT locking.locking_acquire(16, 1000, 0, true, 'once', false, 'k', 'o', 'one', 30000, '{k}');
         SELECT locking.locking_acquire(16, 1000, 0, true, 'once', false, 'l', 'o', 'two', 30000, '{l}');
         SELECT locking.locking_acquire(
             16, 1000, 0, true, 'queue', false, n::text, 'o', n::text, 30000, '{k,l}')
             FROM generate_series(1, 100) n",
    )
    .await;
    execute(
        &server,
        r#"SELECT locking.locking_release(16, 1000, true, '{k}', '{one}', '{0}', '{""}')"#,
    )
    .await;
    let told =
        "SELECT string_agg(request, ' ' ORDER BY seat) FROM locking.locking_queue WHERE told";
    assert_eq!(execute(&server, told).await, "1 2 3 4", "one release is so much work");
    let kept = "SELECT request FROM locking.locking_guard WHERE kind = 'r'";
    assert_eq!(execute(&server, kept).await, "5", "and the next is in charge of the rest");
    // Who asks again waits for the key that it lacked, in its order.
    execute(
        &server,
        "SELECT locking.locking_acquire(
             16, 1000, 0, true, 'again', false, n::text, 'o', n::text, 30000, '{k,l}')
             FROM unnest('{3,1,2}'::int[]) n",
    )
    .await;
    let wait =
        "SELECT string_agg(request, ' ' ORDER BY seat) FROM locking.locking_queue WHERE key = 'l'";
    assert_eq!(execute(&server, wait).await, "1 2 3");
}

#[tokio::test]
async fn a_request_for_several_keys_keeps_its_place_where_a_hold_ended_by_itself() {
    let server = server().await;
    let ask = |manner: &str, request: &str, keys: &str| {
        format!(
            "SELECT locking.locking_acquire(16, 1000, 0, true, '{manner}', false, '{request}', 'o', \
             '{request}', 30000, '{keys}');"
        )
    };
    let asked = [
        ask("once", "one", "{k}"),
        ask("once", "two", "{l}"),
        ask("queue", "first", "{l}"),
        ask("queue", "wide", "{k,l}"),
        "UPDATE locking.locking SET expires = now() WHERE key = 'k';".to_owned(),
        ask("again", "wide", "{k,l}"),
    ];
    execute(&server, &asked.concat()).await;
    let wait =
        "SELECT string_agg(request, ' ' ORDER BY seat) FROM locking.locking_queue WHERE key = 'l'";
    assert_eq!(execute(&server, wait).await, "first wide");
}

#[tokio::test]
async fn clearing_what_is_over_waits_for_nobody_who_waits_for_it() {
    let server = server().await;
    // A lease that is over, and behind it a request whose client is gone.
    execute(
        &server,
        "SELECT locking.locking_acquire(16, 1000, 0, true, 'once', false, 'one', 'o', 'one', 30000, '{k}');
         SELECT locking.locking_acquire(16, 1000, 0, true, 'queue', false, 'two', 'o', 'two', 1, '{k}');
         UPDATE locking.locking_queue SET asked = now() - interval '2 min';
         UPDATE locking.locking SET expires = now();
         UPDATE locking.locking_epoch SET swept = now() - interval '1 min'",
    )
    .await;
    let holder = hold_guard(&server, "k").await;
    let sweep = "SELECT locking.locking_sweep(16, 1000, 10000)";
    let (_, free) = tokio::join!(server.command(sweep), async {
        // It waits for the guard now.
        sleep(Duration::from_millis(60)).await;
        holder.batch_execute("SELECT FROM locking_queue FOR UPDATE NOWAIT").await
    });
    free.expect("nobody has the row");
    drop(holder);
    while server.command(sweep).await.is_err() {}
    assert_eq!(execute(&server, "SELECT count(*) FROM locking.locking_queue").await, "0");
}

#[tokio::test]
async fn a_new_client_of_another_schema_does_not_pass_for_a_dead_one() {
    let server = server().await;
    migrate(&id(), &connector(&server.url()), "other").await.expect("migrated");
    // Its session ends with the command.
    let dead = execute(&server, "SELECT locking.locking_join(1000, 0)").await;
    let next = execute(&server, "SELECT nextval('other.locking_client')").await;
    assert_ne!(dead, next);
}

#[tokio::test]
async fn a_session_that_has_ended_is_granted_no_guard() {
    let server = server().await;
    // Its session ends with the command, a moment later.
    let dead = execute(&server, "SELECT locking.locking_join(1000, 0)").await;
    let is_gone = format!("SELECT locking.locking_is_gone({dead})");
    let has_ended = async {
        while execute(&server, &is_gone).await != "t" {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), has_ended).await.expect("a lock ends with its session");
    for (logged, blocked) in [("false", "-1"), ("true", "0")] {
        let acquire = format!(
            "SELECT blocked FROM locking.locking_acquire(16, 1000, {dead}, {logged}, 'once', false, 'ask', 'g', '', 1000, '{{k}}')"
        );
        assert_eq!(execute(&server, &acquire).await, blocked);
    }
    let acquire_two = format!(
        "SELECT array_to_string(requests, ' ') || blocked FROM locking.locking_acquire_many(16, 1000, {dead}, false, '{{once,once}}', '{{f,f}}', '{{r,s}}', '{{g,g}}', '{{\"\",\"\"}}', '{{9,9}}', '{{l,m}}')"
    );
    assert_eq!(execute(&server, &acquire_two).await, "r s-1");
}

#[tokio::test]
async fn a_late_copy_of_a_request_does_not_tie_a_guard_to_a_session_that_was_given_up() {
    let server = server().await;
    let (former, next) = (session(&server).await, session(&server).await);
    let given_up = number(&former, "SELECT locking.locking_join(60000, 0)").await;
    let join = format!("SELECT locking.locking_join(60000, {given_up})");
    let current = number(&next, &join).await;
    let acquire = |client: i32| {
        format!(
            "SELECT blocked FROM locking.locking_acquire(16, 1000, {client}, false, 'queue', false, 'ask', 'g', '', 60000, '{{k}}')"
        )
    };
    assert_eq!(execute(&server, &acquire(current)).await, "0");
    assert_eq!(execute(&server, &acquire(given_up)).await, "-1");
    let tied_to = execute(&server, "SELECT client FROM locking.locking_guard").await;
    assert_eq!(tied_to, current.to_string());
    // Nor does a late heartbeat bring it back.
    let beat = format!("SELECT locking.locking_beat({given_up}, 60000)");
    assert_eq!(number(&former, &beat).await, 0);
    assert_eq!(execute(&server, &acquire(given_up)).await, "-1");
}

/// A session of its own, in which a client can join.
async fn session(server: &Postgres) -> tokio_postgres::Client {
    let (client, connection) = connector(&server.url()).session().await.expect("connected");
    tokio::spawn(connection.run());
    client
}

async fn number(session: &tokio_postgres::Client, sql: &str) -> i32 {
    session.query_one(sql, &[]).await.expect("answered").get(0)
}

#[test]
fn a_call_has_an_answer_when_the_runtime_of_the_provider_is_gone() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let (gone, other) = (runtime(), runtime());
    let server = other.block_on(server());
    let provider = gone.block_on(provider(options(&server)));
    let lease = gone.block_on(provider.acquire(lease("k"))).expect("granted").lease;
    drop(gone);
    let answered: Result<()> = other.block_on(async {
        let release = provider.release_lease(&lease);
        timeout(Duration::from_secs(10), release).await.expect("it doesn't hang")
    });
    assert!(matches!(answered, Err(Error::UnknownOutcome { .. })), "{answered:?}");
}

#[tokio::test]
async fn a_connection_that_has_lost_what_was_prepared_on_it_is_replaced() {
    let server = server().await;
    let pool: Pool = Connector::new(&options(&server)).expect("valid").pool();
    let provider = PostgresProvider::with_pool(id(), pool.clone(), options(&server)).await;
    let provider = provider.expect("connected");
    provider.acquire(lease("k")).await.expect("granted");
    let connection = pool.get().await.expect("a connection");
    connection.batch_execute("DEALLOCATE ALL").await.expect("forgotten");
    drop(connection);
    let _ = provider.acquire(lease("l")).await;
    provider.acquire(lease("m")).await.expect("granted on another connection");
    provider.close().await.expect("closed");
}

#[tokio::test]
async fn a_pool_that_leads_to_another_database_than_the_session_is_refused() {
    let server = server().await;
    let elsewhere = server.create_database("elsewhere").await.expect("created");
    let connector = connector(&elsewhere);
    migrate(&id(), &connector, "locking").await.expect("migrated");
    let refused = PostgresProvider::with_pool(id(), connector.pool(), options(&server)).await;
    assert!(matches!(refused, Err(Error::Configuration(_))), "{refused:?}");
}

#[tokio::test]
async fn a_transaction_pooler_that_is_not_told_of_is_refused() {
    let server = server().await;
    let pooler = PgBouncer::start(&server).await.expect("a pooler");
    let options = PostgresOptions::new(pooler.url()).expect("an address");
    let refused = PostgresProvider::connect(id(), options).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn the_rights_that_are_asked_for_are_enough() {
    let server = server().await;
    execute(
        &server,
        "CREATE ROLE guest LOGIN; GRANT USAGE ON SCHEMA locking TO guest;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA locking TO guest;
         GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA locking TO guest;
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA locking TO guest;
         DELETE FROM locking.locking_epoch",
    )
    .await;
    let url = format!("postgres://guest@{}/postgres", server.address());
    let module = {
        let provider = provider(PostgresOptions::new(url).expect("an address")).await;
        LockingModule::with_provider(std::sync::Arc::new(provider))
    };
    // Nothing is granted until the epoch that begins here is old enough.
    let _held = module.lock("k").timeout(Duration::from_secs(20)).await.expect("granted");
    let refused = module.lock("k").timeout(Duration::from_millis(100)).await;
    assert!(matches!(refused, Err(Error::TimedOut { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_session_that_the_server_does_not_know_any_more_is_replaced_at_once() {
    let server = server().await;
    let mut options = options(&server);
    options.takeover.heartbeat = Duration::from_secs(2);
    let module = LockingModule::with_provider(Arc::new(provider(options).await));
    let guard = module.lock("k").await.expect("free");
    execute(&server, "DELETE FROM locking.locking_session").await;
    timeout(Duration::from_secs(4), guard.lost()).await.expect("the next heartbeat finds it out");
    // Long before the one after that.
    let next = module.lock("l").timeout(Duration::from_secs(1)).await.expect("free");
    next.check().expect("held");
    next.release().await.expect("held");
}
