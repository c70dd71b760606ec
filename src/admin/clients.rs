//! [`AdminClients`]: the clients that are connected, so many at most.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};

use super::activity::ClientActivity;
use super::routes::AdminApi;
use super::stream::{AdminStream, AdminTimer};

/// How long a client may take for the head of a request, from the end of the one before.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest head of a request.
const MOST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;

/// The clients, each with a task. A client whose task panics is alone in that.
pub(super) struct AdminClients {
    most: usize,
    tasks: JoinSet<()>,
    connected: Vec<(Arc<ClientActivity>, AbortHandle)>,
}

impl AdminClients {
    pub(super) fn new(most: usize) -> Self {
        Self { most, tasks: JoinSet::new(), connected: Vec::new() }
    }

    /// Waits until a client has left. Waits for ever while there is none.
    pub(super) async fn ended(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending().await
        }
    }

    /// Waits until all clients have their answers.
    pub(super) async fn finish(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Serves a client. Where there are too many, another one is disconnected.
    pub(super) fn serve(&mut self, stream: TcpStream, api: &Arc<AdminApi>) {
        self.connected.retain(|(_, task)| !task.is_finished());
        if self.connected.len() >= self.most {
            self.disconnect_one();
        }
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(ClientActivity::new());
        let task = self.tasks.spawn(converse(stream, Arc::clone(&activity), Arc::clone(api)));
        self.connected.push((activity, task));
    }

    /// Disconnects the client that has been idle for longest. Where all of them wait for answers,
    /// it is the one for which nothing has moved for longest: it may be one that takes none.
    fn disconnect_one(&mut self) {
        let key = |activity: &ClientActivity| (activity.is_answered(), activity.idle_since());
        let chosen = self.connected.iter().enumerate().min_by_key(|(_, (activity, _))| key(activity));
        if let Some((at, _)) = chosen {
            self.connected.swap_remove(at).1.abort();
        }
    }
}

/// Answers the requests of a client until it leaves, or takes too long for one.
async fn converse(stream: TcpStream, activity: Arc<ClientActivity>, api: Arc<AdminApi>) {
    let service = service_fn(|request| {
        let (api, under_way) = (Arc::clone(&api), activity.begin_request());
        async move { Ok::<_, std::convert::Infallible>(api.answer(request).await.during(under_way)) }
    });
    let mut http = http1::Builder::new();
    http.timer(AdminTimer).header_read_timeout(PATIENCE).max_buf_size(MOST_HEAD).max_headers(MOST_HEADERS);
    let stream = AdminStream::new(stream, Arc::clone(&activity));
    let mut replacement = api.feed.replacement.clone();
    let mut conversation = std::pin::pin!(http.serve_connection(stream, service));
    // An error is a client that has left, or that does not speak HTTP.
    tokio::select! {
        _ = conversation.as_mut() => {}
        () = replacement.completed() => {
            // Its next request is one for the other process.
            conversation.as_mut().graceful_shutdown();
            let _ = conversation.await;
        }
    }
}
