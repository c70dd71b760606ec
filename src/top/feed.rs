//! Reads the admin server: its events as they come, and now and then the list of connections.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::document::{LiveNews, TopList};
use super::http::{AdminAddress, AdminReply, PATIENCE, other, too_slow};
use super::model::{FeedNews, ListWanted};
use crate::client::ClientFailure;

/// The longest event: that of a server with a thousand workers is shorter.
const MOST_EVENT: usize = 1024 * 1024;
/// The longest list: a thousand connections take less than one.
const MOST_LIST: usize = 4 * 1024 * 1024;
/// The time from a list to the next.
const LISTS: Duration = Duration::from_secs(2);
/// The time from a failed attempt to the next.
const AGAIN: Duration = Duration::from_secs(1);

/// The events of `/live`.
pub(super) struct TopEvents {
    reply: AdminReply,
    address: AdminAddress,
}

impl TopEvents {
    pub(super) async fn open(address: &AdminAddress) -> Result<Self, ClientFailure> {
        Ok(Self { reply: AdminReply::ask(address, "/live").await?, address: address.clone() })
    }

    /// The next event. One comes each second.
    pub(super) async fn next(&mut self) -> Result<LiveNews, ClientFailure> {
        let reading = async {
            loop {
                let line = self.reply.line(MOST_EVENT).await?;
                if let Some(json) = line.strip_prefix(b"data:") {
                    return LiveNews::parse(json).map_err(|_| unknown(&self.address, "/live"));
                }
            }
        };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| Err(too_slow(&self.address)))
    }
}

fn unknown(address: &AdminAddress, path: &str) -> ClientFailure {
    other(format!("the answer of {address} to {path} is not that of resound --admin"))
}

/// Asks once for the connections.
pub(super) async fn list(address: &AdminAddress, wanted: &ListWanted) -> Result<TopList, ClientFailure> {
    let ListWanted { limit, sort, .. } = wanted;
    let mut reply = AdminReply::ask(address, &format!("/connections?limit={limit}&sort={sort}")).await?;
    let body = reply.body(MOST_LIST).await?;
    TopList::parse(&body).map_err(|_| unknown(address, "/connections"))
}

/// Tells all news, from events that come already on, until the receiver is gone.
pub(super) async fn run(
    address: &AdminAddress,
    events: TopEvents,
    wanted: watch::Receiver<ListWanted>,
    news: mpsc::Sender<FeedNews>,
) {
    tokio::join!(follow(address, events, &news), ask_for_lists(address, wanted, &news));
}

async fn follow(address: &AdminAddress, mut events: TopEvents, news: &mpsc::Sender<FeedNews>) {
    loop {
        let failure = loop {
            match events.next().await {
                Ok(live) => tell(news, FeedNews::Live(Box::new(live))).await,
                Err(failure) => break failure,
            }
        };
        tell(news, FeedNews::Lost(failure.to_string())).await;
        events = loop {
            sleep(AGAIN).await;
            match TopEvents::open(address).await {
                Ok(events) => break events,
                Err(failure) => tell(news, FeedNews::Lost(failure.to_string())).await,
            }
        };
    }
}

async fn ask_for_lists(address: &AdminAddress, mut wanted: watch::Receiver<ListWanted>, news: &mpsc::Sender<FeedNews>) {
    loop {
        let now = wanted.borrow_and_update().clone();
        if !now.is_paused {
            let answer = list(address, &now).await;
            let failed = |failure: ClientFailure| FeedNews::NoList(failure.to_string());
            tell(news, answer.map_or_else(failed, FeedNews::List)).await;
        }
        // What does not answer is not asked faster by pressing keys.
        sleep(LISTS / 10).await;
        let _ = timeout(LISTS, wanted.changed()).await;
    }
}

/// Without a receiver the program ends.
async fn tell(news: &mpsc::Sender<FeedNews>, what: FeedNews) {
    if news.send(what).await.is_err() {
        std::future::pending().await
    }
}
