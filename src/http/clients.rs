//! [`HttpClients`]: the clients of a server, up to a limit, and what answers them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};

use super::activity::ClientActivity;
use super::answer::HttpAnswer;
use super::replacement::Replacement;
use super::request::PATIENCE;
use super::stream::{ClientStream, HttpTimer};

/// Between two looks whether a client has left.
const LOOK: Duration = Duration::from_secs(1);
/// The longest head of a request.
const MOST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;

/// What answers the requests of a server.
pub(crate) trait HttpApi: Send + Sync + 'static {
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = HttpAnswer> + Send;
}

/// How many clients a server has at once.
#[derive(Clone, Copy)]
pub(crate) struct HttpLimits {
    /// Those that are served. The requests of another one get the status 503.
    pub(crate) served: usize,
    /// Those that are connected. The one that has been idle for longest makes room for the next.
    pub(crate) connected: usize,
}

impl HttpLimits {
    /// Descriptors that the listener, its copy for another process and its clients take: one more
    /// is accepted before one is closed.
    pub(crate) const fn descriptors(self) -> usize {
        self.connected + 3
    }
}

/// The clients, each with a task. A client whose task panics is alone in that.
pub(super) struct HttpClients {
    limits: HttpLimits,
    /// A client that is served has a permit, where more are connected than are served.
    served: Arc<Semaphore>,
    replacement: Replacement,
    tasks: JoinSet<()>,
    connected: Vec<(Arc<ClientActivity>, AbortHandle)>,
}

impl HttpClients {
    pub(super) fn new(limits: HttpLimits, replacement: Replacement) -> Self {
        let served = Arc::new(Semaphore::new(limits.served));
        Self { limits, served, replacement, tasks: JoinSet::new(), connected: Vec::new() }
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
    pub(super) fn serve(&mut self, stream: TcpStream, api: &Arc<impl HttpApi>) {
        self.connected.retain(|(_, task)| !task.is_finished());
        if self.connected.len() >= self.limits.connected {
            self.disconnect_one();
        }
        let _ = stream.set_nodelay(true);
        let (activity, stream) = (Arc::new(ClientActivity::new()), Arc::new(stream));
        let HttpLimits { served, connected } = self.limits;
        // The permit of one that is disconnected comes back later.
        let permit = (served < connected).then(|| Arc::clone(&self.served).try_acquire_owned());
        let permit = permit.transpose().map_err(|_| served);
        let client =
            HttpClient { stream, activity: Arc::clone(&activity), permit, replacement: self.replacement.clone() };
        let task = self.tasks.spawn(client.converse(Arc::clone(api)));
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

/// A client, as its task has it.
struct HttpClient {
    stream: Arc<TcpStream>,
    activity: Arc<ClientActivity>,
    /// Without the one that it needs, the number of clients that are served.
    permit: Result<Option<OwnedSemaphorePermit>, usize>,
    replacement: Replacement,
}

impl HttpClient {
    /// Answers the requests of a client until it leaves, or takes too long for one.
    async fn converse(self, api: Arc<impl HttpApi>) {
        let Self { stream, activity, permit, mut replacement } = self;
        let service = service_fn(|request| {
            let (api, under_way) = (Arc::clone(&api), activity.begin_request());
            let refused = permit.as_ref().err().copied();
            async move {
                let answer = match refused {
                    None => api.answer(request).await,
                    Some(served) => {
                        let reason = format!("{served} clients are connected already");
                        HttpAnswer::error(StatusCode::SERVICE_UNAVAILABLE, &reason).last()
                    }
                };
                Ok::<_, Infallible>(answer.during(under_way))
            }
        });
        let mut http = http1::Builder::new();
        http.timer(HttpTimer).header_read_timeout(PATIENCE).max_buf_size(MOST_HEAD).max_headers(MOST_HEADERS);
        // A client may close its sending side after its last request.
        http.title_case_headers(true).half_close(true);
        let left = left(&stream, &activity);
        let stream = ClientStream::new(Arc::clone(&stream), Arc::clone(&activity));
        let mut conversation = std::pin::pin!(http.serve_connection(stream, service));
        // An error is a client that has left, or that does not speak HTTP.
        tokio::select! {
            _ = conversation.as_mut() => {}
            () = left => {}
            () = replacement.completed() => {
                // Its next request is one for the other process.
                conversation.as_mut().graceful_shutdown();
                let _ = conversation.await;
            }
        }
    }
}

/// Completes when a client has closed its sending side in the middle of an answer that may wait for
/// ever: one that has left looks the same.
async fn left(stream: &TcpStream, activity: &ClientActivity) {
    loop {
        tokio::time::sleep(LOOK).await;
        let is_closed = stream.ready(Interest::READABLE).await.is_ok_and(|ready| ready.is_read_closed());
        if is_closed && activity.may_stall() {
            return;
        }
    }
}
