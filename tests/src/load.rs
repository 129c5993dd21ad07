//! Clients that send one request after another, and count the outcome of each.
//!
//! They follow HTTP/1.1: a client keeps a connection until a response or the end of the connection
//! says that it is over, and then opens another one. They do not retry: a request that was sent,
//! even in part, and not answered completely counts as failed. So does a connection that was opened
//! and then reset. A client stops when its connection is refused.
//!
//! On a busy machine, a client may stay silent for longer than a service has to wait for it. The
//! failures that follow are counted apart.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::http::{Conversation, Failure, Kind};

/// One request in eight adds a target; the others list all targets.
const ADDS: usize = 8;

/// How long a client may stay silent on a connection that it keeps. It is shorter than the time for
/// which a stopping service keeps listening.
const SILENCE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct Load {
    clients: JoinSet<Account>,
    answers: watch::Receiver<usize>,
    resting: watch::Sender<bool>,
}

/// The outcomes of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The number of responses, by status.
    pub answered: BTreeMap<u16, usize>,
    pub refused: usize,
    pub failed: Vec<String>,
    /// Failures and refusals after the client itself had been too slow.
    pub late: usize,
}

impl Load {
    /// Starts this many clients, each with its own connection. They run until they
    /// [rest](Load::rest) or are refused.
    pub fn on(server: SocketAddr, clients: usize) -> Load {
        let (count, answers) = watch::channel(0);
        let (resting, rests) = watch::channel(false);
        let count = Arc::new(count);
        let clients = (0..clients).map(|number| Client {
            server,
            number,
            kept: None,
            answers: 0,
            since: Instant::now(),
            silent: Duration::ZERO,
            all_answers: Arc::clone(&count),
            resting: rests.clone(),
        });
        Load {
            clients: clients.map(Client::work).collect(),
            answers,
            resting,
        }
    }

    /// Waits until there are this many responses, or all clients have stopped.
    pub async fn answers(&self, count: usize) {
        let mut answers = self.answers.clone();
        _ = answers.wait_for(|answers| *answers >= count).await;
    }

    /// Stops sending requests and opening connections.
    pub fn rest(&self) {
        self.resting.send_replace(true);
    }

    /// Waits for the last client, and returns the outcomes.
    pub async fn account(self) -> Account {
        let mut total = Account::default();
        for account in self.clients.join_all().await {
            total += account;
        }
        total
    }
}

struct Client {
    server: SocketAddr,
    number: usize,
    /// The connection between two requests.
    kept: Option<Conversation>,
    /// The number of responses on this connection.
    answers: usize,
    /// When it was opened, or when the last response arrived.
    since: Instant,
    /// How long the client left it idle before the last request.
    silent: Duration,
    all_answers: Arc<watch::Sender<usize>>,
    resting: watch::Receiver<bool>,
}

impl Client {
    async fn work(mut self) -> Account {
        let mut account = Account::default();
        for number in 0.. {
            if *self.resting.borrow() {
                break;
            }
            match self.ask(number).await {
                Ok(status) => {
                    *account.answered.entry(status).or_default() += 1;
                    self.all_answers.send_modify(|answers| *answers += 1);
                }
                Err(failure) if failure.kind == Kind::Refused => {
                    account.refused += 1;
                    break;
                }
                Err(_) if self.silent > SILENCE => account.late += 1,
                Err(failure) => {
                    let answers = self.answers;
                    let failure = format!("after {answers} answers on its connection: {failure}");
                    account.failed.push(failure);
                }
            }
        }
        account
    }

    /// Sends a request, and returns the status.
    async fn ask(&mut self, number: usize) -> Result<u16, Failure> {
        let kept = self.kept.take().filter(|kept| !kept.is_over());
        let mut conversation = if let Some(kept) = kept {
            kept
        } else {
            (self.answers, self.silent) = (0, Duration::ZERO);
            let opened = Conversation::open(self.server).await?;
            self.since = Instant::now();
            opened
        };
        let written = conversation.write(self.request(number)).await;
        self.silent = self.since.elapsed();
        written?;
        let answer = conversation.answer().await?;
        if answer.header("connection") != Some("close") {
            self.answers += 1;
            self.since = Instant::now();
            self.kept = Some(conversation);
        }
        Ok(answer.status)
    }

    fn request(&self, number: usize) -> String {
        // Spreads the additions over the clients.
        if !(number + self.number).is_multiple_of(ADDS) {
            return "GET /v1/targets HTTP/1.1\r\nhost: load\r\n\r\n".to_owned();
        }
        let url = format!("http://{}.example.org/{number}", self.number);
        let body = json!({ "url": url }).to_string();
        let length = body.len();
        format!(
            "POST /v1/targets HTTP/1.1\r\nhost: load\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
    }
}

impl Account {
    pub fn answers(&self) -> usize {
        self.answered.values().sum()
    }
}

impl std::ops::AddAssign for Account {
    fn add_assign(&mut self, other: Account) {
        for (status, count) in other.answered {
            *self.answered.entry(status).or_default() += count;
        }
        self.refused += other.refused;
        self.failed.extend(other.failed);
        self.late += other.late;
    }
}

impl Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (answers, refused, failed) = (self.answers(), self.refused, self.failed.len());
        let (statuses, late) = (&self.answered, self.late);
        write!(
            f,
            "{answers} answers {statuses:?}, {refused} refused, {failed} failed, \
             {late} of clients that were late"
        )?;
        self.failed
            .iter()
            .take(20)
            .try_for_each(|failure| write!(f, "\n  {failure}"))
    }
}
