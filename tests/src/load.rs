//! Clients that ask one thing after the other, and keep account of what became of each request.
//!
//! They are as decent as clients of HTTP/1.1 have to be: a connection is kept until an answer or its
//! end says that it is over, and then another one is opened. Nothing is tried again: a request that
//! was sent, even a part of it, and not answered to the last byte has failed. So has a connection
//! that was made and then broken. A client ends when nobody listens any more.
//!
//! A client on a machine that is too busy to let it speak for a while is not decent any more, and a
//! service need not wait for it: what fails then is told apart.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::http::{Conversation, Failure, Kind};

/// One request in so many adds a target; the others list them all.
const ADDS: usize = 8;

/// How long a client may be silent on a connection that it keeps. A service that stops listens for
/// longer.
const SILENCE: Duration = Duration::from_millis(50);

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    clients: JoinSet<Account>,
    answers: watch::Receiver<usize>,
    resting: watch::Sender<bool>,
}

/// What became of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// How many answers there were, by their status.
    pub answered: BTreeMap<u16, usize>,
    /// How many connections nobody was there for.
    pub refused: usize,
    pub failed: Vec<String>,
    /// What failed, or was refused, when the client had been too slow.
    pub late: usize,
}

impl Load {
    /// So many clients, each with a connection of its own, until they [rest](Load::rest) or are
    /// refused.
    pub fn on(server: SocketAddr, clients: usize) -> Load {
        let (count, answers) = watch::channel(0);
        let (resting, rests) = watch::channel(false);
        let count = Arc::new(count);
        let clients = (0..clients).map(|number| Client {
            server,
            number,
            connection: None,
            account: Account::default(),
            answers: Arc::clone(&count),
            resting: rests.clone(),
        });
        Load {
            clients: clients.map(Client::work).collect(),
            answers,
            resting,
        }
    }

    /// Waits until there have been so many answers, or there will be no more.
    pub async fn answers(&self, count: usize) {
        let mut answers = self.answers.clone();
        _ = answers.wait_for(|answers| *answers >= count).await;
    }

    /// From now on, nothing new is asked, and no connection opened.
    pub fn rest(&self) {
        self.resting.send_replace(true);
    }

    /// What became of everything that was asked, when the last client has come to its end.
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
    connection: Option<Kept>,
    account: Account,
    answers: Arc<watch::Sender<usize>>,
    resting: watch::Receiver<bool>,
}

/// A connection between two requests.
struct Kept {
    conversation: Conversation,
    answers: usize,
    /// When it was opened, or the last answer had come.
    since: Instant,
}

/// A request that came to nothing.
struct Setback {
    failure: Failure,
    /// How much had been answered over the same connection.
    answers: usize,
    /// For how long the client had let it lie.
    silent: Duration,
}

impl Kept {
    async fn open(server: SocketAddr) -> Result<Kept, Setback> {
        match Conversation::open(server).await {
            Ok(conversation) => Ok(Kept {
                conversation,
                answers: 0,
                since: Instant::now(),
            }),
            Err(failure) => Err(Setback {
                failure,
                answers: 0,
                silent: Duration::ZERO,
            }),
        }
    }
}

impl Client {
    async fn work(mut self) -> Account {
        for number in 0.. {
            if *self.resting.borrow() {
                break;
            }
            match self.ask(number).await {
                Ok(status) => {
                    *self.account.answered.entry(status).or_default() += 1;
                    self.answers.send_modify(|answers| *answers += 1);
                }
                Err(setback) if setback.failure.kind == Kind::Refused => {
                    self.account.refused += 1;
                    break;
                }
                Err(setback) if setback.silent > SILENCE => self.account.late += 1,
                Err(Setback {
                    failure, answers, ..
                }) => {
                    let failure = format!("after {answers} answers on its connection: {failure}");
                    self.account.failed.push(failure);
                }
            }
        }
        self.account
    }

    /// The status of the answer.
    async fn ask(&mut self, number: usize) -> Result<u16, Setback> {
        let kept = self.connection.take();
        let mut kept = match kept.filter(|kept| !kept.conversation.is_over()) {
            Some(kept) => kept,
            None => Kept::open(self.server).await?,
        };
        let written = kept.conversation.write(self.request(number)).await;
        let silent = kept.since.elapsed();
        let answer = match written {
            Ok(()) => kept.conversation.answer().await,
            Err(failure) => Err(failure),
        };
        let answers = kept.answers;
        let answer = answer.map_err(|failure| Setback {
            failure,
            answers,
            silent,
        })?;
        if answer.header("connection") != Some("close") {
            kept.answers += 1;
            kept.since = Instant::now();
            self.connection = Some(kept);
        }
        Ok(answer.status)
    }

    fn request(&self, number: usize) -> String {
        // Not all of them at once.
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
    /// How many answers there were.
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
