//! A web handler with a lock for each order: an order is paid once, however often its button is pressed.
//!
//! ```text
//! cargo run --example web
//! ```
//!
//! The program serves `POST /orders/{id}/pay` on a free port, and asks itself:
//!
//! 1. Five requests for one order at once: one pays. The others wait a little, and are answered 409 with
//!    `Retry-After`. A request for another order doesn't notice.
//! 2. Once more, later: 200, already paid.
//! 3. A name that can't be a key is the client's mistake: 400.
//! 4. The program ends while a payment runs. Who comes now is answered 503, the payment goes on to its end,
//!    and then the server goes.
//!
//! How errors become statuses is in `answer.rs`. Each part checks what it shows; if one comes out
//! otherwise, the program ends with an error.

mod answer;
mod shop;

use std::error::Error as StdError;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::header::RETRY_AFTER;
use axum::http::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use locking::{LockingConfig, LockingModule};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::shop::{PAYMENT, Shop};

type Result<T = ()> = std::result::Result<T, Box<dyn StdError + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    let module = LockingModule::new(LockingConfig::new()).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let customer = Customer::of(listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, shop::router(Shop::new(module.clone())));
    // A real program waits for `tokio::signal::ctrl_c` and SIGTERM here.
    let server = server.with_graceful_shutdown(async move { drop(stopped.await) });
    let server = tokio::spawn(server.into_future());

    contention(&customer).await?;
    later(&customer).await?;
    a_bad_name(&customer).await?;
    the_end(&customer, &module).await?;

    let _ = stop.send(());
    server.await??;
    println!("   the server has ended");
    Ok(())
}

async fn contention(customer: &Customer) -> Result {
    println!("1. Five requests for order 7 at once, and one for order 8");
    let mut requests = JoinSet::new();
    for order in ["7", "7", "7", "7", "7", "8"] {
        requests.spawn(customer.clone().pay_on_its_own(order));
    }
    let (mut paid, mut in_vain) = (0, 0);
    for answer in requests.join_all().await {
        let answer = answer?;
        println!("   {answer}");
        match answer.status {
            StatusCode::OK => paid += usize::from(answer.text == "paid"),
            status => {
                ensure(status == StatusCode::CONFLICT, "who waited in vain is told so")?;
                ensure(answer.retry_after.is_some(), "and when to come again")?;
                in_vain += 1;
            }
        }
    }
    ensure(in_vain > 0, "nobody waits for longer than the shop lets them")?;
    ensure(paid == 2, "each order is paid once")
}

async fn later(customer: &Customer) -> Result {
    println!("2. Order 7 once more");
    let answer = customer.pay("7").await?;
    println!("   {answer}");
    ensure(answer.status == StatusCode::OK, "nobody holds it any more")?;
    ensure(answer.text == "already paid", "and it isn't paid again")
}

async fn a_bad_name(customer: &Customer) -> Result {
    println!("3. An order that can't be one");
    let answer = customer.pay(&"9".repeat(1_100)).await?;
    println!("   {answer}");
    ensure(answer.status == StatusCode::BAD_REQUEST, "the client made a mistake")
}

async fn the_end(customer: &Customer, module: &LockingModule) -> Result {
    println!("4. The program ends while order 9 is paid");
    let running = tokio::spawn(customer.clone().pay_on_its_own("9"));
    while module.inspect("order/9").await?.is_none() && !running.is_finished() {
        sleep(Duration::from_millis(1)).await;
    }
    // No new payments from here on; those that run have their time.
    let (broken, late) = tokio::join!(module.close(PAYMENT * 10), customer.pay("10"));
    let (broken, late, running) = (broken?, late?, running.await??);
    println!("   who came late: {late}\n   who was at it: {running}");
    ensure(late.status == StatusCode::SERVICE_UNAVAILABLE, "who comes late is sent elsewhere")?;
    ensure(late.retry_after.is_some(), "and told when to come again")?;
    ensure(running.status == StatusCode::OK && broken == 0, "the payment goes on to its end")
}

/// Who presses the button.
#[derive(Clone)]
struct Customer {
    client: Client<HttpConnector, Body>,
    shop: String,
}

/// What the shop answers.
struct Answer {
    order: String,
    took: Duration,
    status: StatusCode,
    retry_after: Option<String>,
    text: String,
}

impl Customer {
    fn of(address: std::net::SocketAddr) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, shop: format!("http://{address}") }
    }

    async fn pay(&self, order: &str) -> Result<Answer> {
        let asked = Instant::now();
        let request = Request::post(format!("{}/orders/{order}/pay", self.shop));
        let response = self.client.request(request.body(Body::empty())?).await?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).map(|after| after.to_str());
        let retry_after = retry_after.transpose()?.map(str::to_owned);
        let text = to_bytes(Body::new(response.into_body()), 10_000).await?;
        let (order, took) = (order.chars().take(4).collect(), asked.elapsed());
        Ok(Answer { order, took, status, retry_after, text: String::from_utf8(text.into())? })
    }

    /// The same as a task.
    async fn pay_on_its_own(self, order: &'static str) -> Result<Answer> {
        self.pay(order).await
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (status, milliseconds) = (self.status.as_u16(), self.took.as_millis());
        write!(f, "order {}: {status} after {milliseconds} ms: {}", self.order, self.text)?;
        match &self.retry_after {
            Some(seconds) => write!(f, " (Retry-After: {seconds})"),
            None => Ok(()),
        }
    }
}

fn ensure(holds: bool, expectation: &str) -> Result {
    if holds { Ok(()) } else { Err(format!("expected: {expectation}").into()) }
}
