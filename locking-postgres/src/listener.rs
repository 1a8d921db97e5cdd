use std::sync::{Arc, Weak};
use std::time::Duration;

use locking_core::line::{Lines, Notice};
use locking_core::{Backoff, FencingToken, Moment, ProviderId, Session, WithCauses};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client};

use crate::connect::Connector;
use crate::connection::Connection;
use crate::database::Database;
use crate::failure::Failure;
use crate::options::TakeoverOptions;
use crate::outage::{Outage, SHARED};
use crate::pooler::{self, BACKEND};
use crate::sessions::{Joined, Sessions};
use crate::store::Store;

/// How the process's session is opened and kept.
///
/// The session is the sign that the process lives: it holds the lock of its number. On it the server tells
/// of grants. Nothing else is asked on it, so that nothing holds its heartbeats up.
pub(crate) struct Listener {
    pub(crate) id: ProviderId,
    pub(crate) connector: Connector,
    pub(crate) database: Arc<Database>,
    pub(crate) takeover: TakeoverOptions,
    pub(crate) sessions: Arc<Sessions>,
}

/// An open session.
pub(crate) struct Open {
    joined: Joined,
    client: Client,
    connection: Connection,
    /// The server's process that carries it: another one would hold none of its locks.
    backend: String,
}

impl Listener {
    /// Opens a session: it takes a number, and hears what is told to it. The server learns that the one before
    /// was given up.
    pub(crate) async fn open(&self) -> Result<Open, Failure> {
        let (client, mut connection) = self.connector.session().await?;
        let (joined, backend) = {
            let join = self.join(&client);
            tokio::pin!(join);
            let limit = sleep(self.database.command_timeout);
            tokio::pin!(limit);
            loop {
                tokio::select! {
                    joined = &mut join => break joined?,
                    message = connection.message() => match message {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Err(Failure::not_connected(error)),
                        None => return Err(Failure::closed()),
                    },
                    () = &mut limit => return Err(Failure::not_connected_in_time()),
                }
            }
        };
        self.sessions.begin(joined.clone());
        Ok(Open { joined, client, connection, backend })
    }

    async fn join(&self, client: &Client) -> Result<(Joined, String), Failure> {
        let bound = self.bound();
        let asked = Moment::now();
        let set_up = pooler::backend(client, &format!("{BACKEND}; {}", self.settings())).await?;
        let join = &self.database.statements.join;
        let values: &[&(dyn ToSql + Sync)] = &[&self.kept_ms(), &self.sessions.given_up()];
        let row = client.query_one(&join.text, values).await?;
        let (number, joined): (i32, i32) = (row.try_get(0)?, row.try_get(1)?);
        let listening = format!("{BACKEND}; LISTEN locking_{number}");
        let listens = pooler::backend(client, &listening).await?;
        if set_up != listens || joined.to_string() != listens {
            return Err(Failure::shared());
        }
        let session = Session::new(asked.saturating_add(bound));
        Ok((Joined { number, session }, listens))
    }

    /// For how long after an answered heartbeat the session is believed in: less than the server keeps it.
    fn bound(&self) -> Duration {
        self.takeover.session_timeout * 4 / 5
    }

    /// For how long after a heartbeat the server keeps the guards of a session that has ended, because its
    /// client may not know: longer than that believes in it, also where its clock is slow.
    fn kept_ms(&self) -> i64 {
        let kept = self.takeover.session_timeout * 9 / 10;
        i64::try_from(kept.as_millis()).unwrap_or(i64::MAX)
    }

    /// Has the server end the session when it hears nothing for `session_timeout`, and not before nine tenths
    /// of that: whether the process is stopped, or its machine is gone.
    fn settings(&self) -> String {
        let limit = self.takeover.session_timeout;
        let (ms, seconds) = (limit.as_millis(), limit.as_secs().max(1));
        format!(
            "SELECT set_config('application_name', current_setting('application_name') || ' session', false); \
             SET idle_session_timeout = {ms}; SET tcp_user_timeout = {ms}; \
             SET tcp_keepalives_idle = {}; SET tcp_keepalives_interval = {}; SET tcp_keepalives_count = 2; \
             SET statement_timeout = {ms}; SET idle_in_transaction_session_timeout = {ms}",
            seconds.div_ceil(2),
            seconds.div_ceil(4),
        )
    }

    /// Keeps a session as long as there are lines: heartbeats, notices, and another one where it ends.
    pub(crate) async fn run(self, mut open: Option<Open>, lines: Weak<Lines<Store>>) {
        let mut backoff = Backoff::new(AGAIN, SELDOM);
        let mut outage = Outage::none();
        loop {
            if let Some(open) = open.take() {
                backoff = Backoff::new(AGAIN, SELDOM);
                let number = open.joined.number;
                self.keep(open, &lines).await;
                self.sessions.end(number);
            }
            if lines.strong_count() == 0 {
                return;
            }
            sleep(backoff.next_delay()).await;
            match self.open().await {
                Ok(opened) => {
                    outage.is_over(&self.id);
                    open = Some(opened);
                    // What was told meanwhile is lost.
                    let Some(lines) = lines.upgrade() else { return };
                    lines.look();
                }
                Err(failure) => {
                    outage.goes_on(&self.id, &failure);
                    if failure.is_shared() {
                        // Each attempt leaves something in a session that is somebody else's.
                        sleep(SHARED_AGAIN).await;
                    }
                }
            }
        }
    }

    /// Until the session ends, or is believed to have.
    async fn keep(&self, open: Open, lines: &Weak<Lines<Store>>) {
        let Open { joined: Joined { number, session }, client, mut connection, backend } = open;
        let beat_text =
            format!("SELECT {}({number}, {})", self.database.statements.beat, self.kept_ms());
        let beat_text = Arc::<str>::from(beat_text);
        let (client, backend) = (Arc::new(client), Arc::<str>::from(backend));
        let every = self.takeover.heartbeat;
        let mut due = interval_at(Instant::now() + every, every);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut beat: Option<JoinHandle<()>> = None;
        loop {
            tokio::select! {
                biased;
                message = connection.message() => match message {
                    Some(Ok(AsyncMessage::Notification(told))) => {
                        let Some(lines) = lines.upgrade() else { return };
                        take_in(&lines, told.payload(), &session);
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        let failure = Failure::from(error);
                        tracing::debug!(
                            provider = %self.id, error = %WithCauses::of(&failure),
                            "the session with the PostgreSQL server has ended"
                        );
                        return;
                    }
                    None => return,
                },
                // It may have ended the session: who asks next waits for another one.
                () = ended(&mut beat) => if !session.is_alive() {
                    return;
                },
                _ = due.tick() => {
                    // Nobody's provider any more, if making it was given up half way; or no heartbeat was
                    // answered for too long.
                    if lines.strong_count() == 0 || !session.is_alive() {
                        return;
                    }
                    if beat.is_some() {
                        continue;
                    }
                    let (client, backend) = (Arc::clone(&client), Arc::clone(&backend));
                    let (session, text) = (session.clone(), Arc::clone(&beat_text));
                    let (id, bound) = (self.id.clone(), self.bound());
                    beat = Some(tokio::spawn(beat_once(id, client, text, backend, session, bound)));
                }
            }
        }
    }
}

/// After how long another session is tried where one has ended, first and later.
const AGAIN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_millis(500);

/// After how long another session is tried behind such a pooler, at least.
const SHARED_AGAIN: Duration = Duration::from_secs(9);

/// What a heartbeat answers in a session that is given up.
const GIVEN_UP: &str = "0";

/// A heartbeat: its answer moves the session's deadline, counted from before it was sent; or ends the session, if
/// it isn't the session any more that has answered.
async fn beat_once(
    provider: ProviderId,
    client: Arc<Client>,
    text: Arc<str>,
    backend: Arc<str>,
    session: Session,
    bound: Duration,
) {
    let sent = Moment::now();
    match timeout(bound, pooler::backend(&client, &text)).await {
        Ok(Ok(answered)) if *answered == *backend => {
            session.prolong(sent.saturating_add(bound));
        }
        Ok(Ok(answered)) => {
            if answered == GIVEN_UP {
                tracing::warn!(%provider, "the PostgreSQL server doesn't know the session any more");
            } else {
                tracing::error!(%provider, "{SHARED}");
            }
            session.end();
        }
        Ok(Err(failure)) => {
            let error = WithCauses::of(&failure);
            tracing::warn!(%provider, %error, "the PostgreSQL server refused a heartbeat");
        }
        // Unanswered for so long, the session is over by itself.
        Err(_) => {}
    }
}

/// When the heartbeat that is under way has ended; never, where none is.
async fn ended(beat: &mut Option<JoinHandle<()>>) {
    match beat {
        Some(under_way) => {
            let _ = under_way.await;
            *beat = None;
        }
        None => std::future::pending().await,
    }
}

/// Takes in what the server tells: a word, and what follows it. Keys may have spaces, and come last.
fn take_in(lines: &Arc<Lines<Store>>, told: &str, session: &Session) {
    let Some((word, rest)) = told.split_once(' ') else { return };
    match word {
        "grant" => {
            let mut parts = rest.splitn(4, ' ');
            let mut number = || parts.next().and_then(|part| part.parse().ok());
            let (Some(token), Some(ms)) = (number(), number()) else { return };
            let (Some(ask), Some(key)) = (parts.next(), parts.next()) else { return };
            let term = Duration::from_millis(ms);
            let notice = Notice::new(key, ask, FencingToken::new(token), term);
            lines.notice(&notice.with_session(session.clone()));
        }
        "revoked" => {
            if let Some((ask, key)) = rest.split_once(' ') {
                lines.revoked(key, ask);
            }
        }
        _ => {}
    }
}
