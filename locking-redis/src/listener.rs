use std::sync::{Arc, Weak};
use std::time::Duration;

use fred::clients::SubscriberClient;
use fred::error::{Error as DriverError, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::types::{Message, Value};
use locking_core::FencingToken;
use locking_core::line::{Lines, Notice};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::connection::Connection;
use crate::failure::Failure;
use crate::store::Store;

/// Hears what the server tells this client, as long as there are lines.
///
/// Whenever something may have been missed (the connection was made again, messages were dropped) every
/// line asks again.
pub(crate) async fn listen(connection: Connection, channel: Value, lines: Weak<Lines<Store>>) {
    let notices = &connection.notices;
    let mut messages = notices.message_rx();
    let mut reconnected = notices.reconnect_rx();
    let mut commands_reconnected = connection.commands.reconnect_rx();
    subscribe_again(notices, &channel).await;
    // Nothing is sent on this connection: without this, nobody notices that it is dead.
    let mut alive = interval(connection.command_timeout);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Whether one of the two connections may have come to another server than the other, as where a name moves.
    let mut are_apart = false;
    loop {
        tokio::select! {
            biased;
            again = reconnected.recv() => {
                if matches!(again, Err(RecvError::Closed)) {
                    return;
                }
                subscribe_again(notices, &channel).await;
                are_apart = true;
                let Some(lines) = lines.upgrade() else { return };
                lines.look();
            }
            _ = commands_reconnected.recv() => {
                // Closed, it is so with the other one, too.
                are_apart = true;
                let Some(lines) = lines.upgrade() else { return };
                lines.look();
                sleep(Duration::from_millis(1)).await;
            }
            _ = alive.tick() => {
                if let Err(error) = notices.ping::<Value>(None).await
                    && *error.kind() == ErrorKind::Timeout
                {
                    tracing::debug!("the server tells nothing any more, connecting anew");
                    let _ = notices.force_reconnection().await;
                } else if are_apart {
                    are_apart = !is_heard(&connection, &channel).await;
                }
            }
            message = messages.recv() => {
                let Some(lines) = lines.upgrade() else { return };
                match message {
                    Ok(message) => take_in(&lines, &message),
                    Err(RecvError::Lagged(_)) => lines.look(),
                    Err(RecvError::Closed) => return,
                }
            }
        }
    }
}

/// Subscribes to this client's channel, and sees whether it hears of what is told there: users may be
/// allowed neither, and the driver doesn't say so.
pub(crate) async fn begin(connection: &Connection, channel: &Value) -> Result<(), Failure> {
    let give_up = Instant::now() + connection.command_timeout;
    subscribe(&connection.notices, channel).await?;
    loop {
        if hears(connection, channel).await? {
            return Ok(());
        }
        if Instant::now() >= give_up {
            return Err(Failure::unheard());
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Whether anybody hears what is told on this client's channel where its commands go.
async fn hears(connection: &Connection, channel: &Value) -> Result<bool, Failure> {
    let told = connection.send("PUBLISH", vec![channel.clone(), "".into()]).await?;
    Ok(told.as_i64().is_some_and(|clients| clients > 0))
}

/// Whether this client hears what is told where its commands go; if not, the connection on which it listens is
/// made anew. Else every grant from a queue would find nobody, and be undone.
async fn is_heard(connection: &Connection, channel: &Value) -> bool {
    match hears(connection, channel).await {
        Ok(false) => {
            tracing::debug!(
                "commands go to a server that doesn't tell this client, connecting anew"
            );
            let _ = connection.notices.force_reconnection().await;
            false
        }
        // Without an answer it is asked again.
        answer => answer.is_ok(),
    }
}

/// Subscribes, and returns when the server tells: the driver answers as soon as this is written, and
/// until it arrives a grant would find nobody who hears it.
async fn subscribe(notices: &SubscriberClient, channel: &Value) -> Result<(), DriverError> {
    notices.subscribe(channel.as_string().unwrap_or_default()).await?;
    notices.ping(None).await
}

/// The same on a connection that was made again. Where that fails it is lost, and made once more.
async fn subscribe_again(notices: &SubscriberClient, channel: &Value) {
    if let Err(error) = subscribe(notices, channel).await {
        tracing::debug!(%error, "couldn't subscribe, the server tells nothing until it is connected again");
    }
}

/// Takes in a message: a word, and what follows it, with a NUL between them.
fn take_in(lines: &Arc<Lines<Store>>, message: &Message) {
    let Some(text) = message.value.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    else {
        return;
    };
    let parts: Vec<_> = text.split('\0').collect();
    match parts.as_slice() {
        ["grant", token, ms, ask, key] => {
            let (Ok(token), Ok(ms)) = (token.parse(), ms.parse()) else { return };
            let key = lines.store().operations.lock(key);
            if let Some(key) = key {
                let token = FencingToken::new(token);
                let term = Duration::from_millis(ms);
                lines.notice(&Notice::new(key.as_str(), ask, token, term));
            }
        }
        ["revoked", ask, key] => {
            if let Some(key) = lines.store().operations.lock(key) {
                lines.revoked(key.as_str(), ask);
            }
        }
        ["look", ms, key] => {
            let (Ok(ms), Some(key)) = (ms.parse(), lines.store().operations.lock(key)) else {
                return;
            };
            let lines = Arc::downgrade(lines);
            tokio::spawn(async move {
                sleep(Duration::from_millis(ms)).await;
                if let Some(lines) = lines.upgrade() {
                    lines.look_at(key.as_str());
                }
            });
        }
        _ => {}
    }
}
