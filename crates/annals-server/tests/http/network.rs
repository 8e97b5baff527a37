//! Over real sockets: deadlines, bounds, the end, the socket in a directory.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use annals_server::{Limits, ListenError, serve, serve_unix};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::bank::Bank;
use crate::client::soon;

struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<usize, ListenError>>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let bank = Bank::with(limits.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(async move {
            let shutdown = async { stopped.await.unwrap_or(()) };
            serve(listener, bank.router, shutdown, &limits).await
        });
        Self { address, stop: Some(stop), ended }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

/// Reads until `wanted` has come.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), wanted: &str) -> String {
    let mut text = String::new();
    soon(async {
        let mut buffer = [0; 4096];
        while !text.contains(wanted) {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the connection ended without {wanted:?}: {text:?}");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    })
    .await;
    text
}

/// Everything until the other side closes.
async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    match soon(stream.read_to_end(&mut bytes)).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    String::from_utf8(bytes).unwrap()
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), head: &str, body: &str) {
    let request = format!("{head}\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_request_after_request() {
    let mut server = Server::start(Limits::default()).await;
    let mut stream = server.connect().await;
    for version in ["\"version\":1", "\"repeated\":true"] {
        ask(&mut stream, "POST /api/bank/account/ann/open HTTP/1.1\r\nIdempotency-Key: k", "").await;
        assert!(read_until(&mut stream, version).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
    server.stop();
    assert_eq!(read_to_end(&mut stream).await, "", "an idle connection is closed");
    assert_eq!(soon(server.ended).await.unwrap().unwrap(), 0);
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_is_given_up() {
    let timeout = Duration::from_millis(150);
    let server = Server::start(Limits { header_timeout: timeout, ..Limits::default() }).await;
    for sent in ["", "GET /healthz HTTP/1.1\r\nHost: local"] {
        let (mut stream, began) = (server.connect().await, Instant::now());
        stream.write_all(sent.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await;
        assert!(began.elapsed() >= timeout - Duration::from_millis(10), "{sent:?} {:?}", began.elapsed());
        assert!(began.elapsed() < timeout * 10, "{sent:?} {:?}", began.elapsed());
    }
    // Also the second head of a connection.
    let mut stream = server.connect().await;
    ask(&mut stream, "GET /healthz HTTP/1.1", "").await;
    read_until(&mut stream, "ok\n").await;
    read_to_end(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_bound_wait() {
    let server = Server::start(Limits { connections_max: 1, ..Limits::default() }).await;
    let mut first = server.connect().await;
    ask(&mut first, "GET /healthz HTTP/1.1", "").await;
    read_until(&mut first, "ok\n").await;
    let mut second = server.connect().await;
    ask(&mut second, "GET /healthz HTTP/1.1", "").await;
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(100), second.read(&mut byte)).await;
    assert!(early.is_err(), "the second is not served while the first is open");
    drop(first);
    read_until(&mut second, "ok\n").await;
}

/// A client that stops reading an endless answer gives its place back.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_taken_is_cut_off() {
    let timeout = Duration::from_millis(200);
    let server =
        Server::start(Limits { connections_max: 1, write_timeout: timeout, ..Limits::default() }).await;
    let mut first = server.connect().await;
    ask(&mut first, "POST /api/bank/account/ann/open HTTP/1.1", "").await;
    read_until(&mut first, "\"version\":1").await;
    // More than the system's buffers hold.
    for version in 2..=6 {
        let fill = "POST /api/bank/account/ann/fill HTTP/1.1\r\nContent-Type: application/json";
        ask(&mut first, fill, r#"{"bytes":4000000}"#).await;
        read_until(&mut first, &format!("\"version\":{version}")).await;
    }
    ask(&mut first, "GET /api/bank/events HTTP/1.1", "").await;
    let mut second = server.connect().await;
    ask(&mut second, "GET /healthz HTTP/1.1", "").await;
    read_until(&mut second, "ok\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_finished_when_the_server_stops() {
    let mut server = Server::start(Limits::default()).await;
    let mut stream = server.connect().await;
    let head = "POST /api/bank/account/ann/open HTTP/1.1\r\nHost: localhost\r\n\
        Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.stop();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!server.ended.is_finished(), "it waits for the request");
    stream.write_all(b"}").await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"version\":1"), "{answer}");
    assert_eq!(soon(server.ended).await.unwrap().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_at_the_end_is_cut_off_and_counted() {
    let mut server = Server::start(Limits { drain: Duration::from_millis(100), ..Limits::default() }).await;
    let mut stream = server.connect().await;
    let head = "POST /api/bank/account/ann/open HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.stop();
    assert_eq!(soon(server.ended).await.unwrap().unwrap(), 1);
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_end_when_the_server_stops() {
    let mut server = Server::start(Limits::default()).await;
    let mut stream = server.connect().await;
    // HTTP/1.0, so that the body comes as it is.
    stream.write_all(b"GET /api/bank/events HTTP/1.0\r\n\r\n").await.unwrap();
    read_until(&mut stream, "id: 0.0\n").await;
    let mut other = server.connect().await;
    ask(&mut other, "POST /api/bank/account/ann/open HTTP/1.1", "").await;
    read_until(&mut stream, "account.opened").await;
    let began = Instant::now();
    server.stop();
    read_to_end(&mut stream).await;
    assert_eq!(soon(server.ended).await.unwrap().unwrap(), 0);
    assert!(began.elapsed() < Duration::from_secs(5), "it did not wait for the drain to run out");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_others_reach_are_not_served() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused =
        soon(serve(listener, Bank::open().router, std::future::pending(), &Limits::default())).await;
    assert!(matches!(refused, Err(ListenError::NotLoopback(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_of_a_directory_serves_the_same_routes() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    // What a process that died left behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let (served, limits, router) = (path.clone(), Limits::default(), Bank::open().router);
    let ended = tokio::spawn(async move {
        serve_unix(&served, router, async { stopped.await.unwrap_or(()) }, &limits).await
    });
    let mut stream = soon(async {
        loop {
            match UnixStream::connect(&path).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    ask(&mut stream, "POST /api/bank/account/ann/open HTTP/1.1", "").await;
    read_until(&mut stream, "\"version\":1").await;
    let second = serve_unix(&path, Bank::open().router, std::future::pending(), &Limits::default()).await;
    assert!(matches!(second, Err(ListenError::InUse { .. })), "{second:?}");
    stop.send(()).unwrap();
    assert_eq!(soon(ended).await.unwrap().unwrap(), 0);
    assert!(!path.exists(), "the socket is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_no_socket_can_have_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().as_os_str().len() + 1;
    for (bytes, fits) in [(106, true), (107, true), (108, false)] {
        let path = directory.path().join("x".repeat(bytes - base));
        let served = serve_unix(&path, Bank::open().router, std::future::ready(()), &Limits::default()).await;
        match served {
            Ok(_) => assert!(fits, "{bytes}"),
            Err(error @ ListenError::PathTooLong { .. }) => {
                assert!(
                    !fits && error.to_string().contains("108 bytes, the system takes at most 107"),
                    "{error}"
                );
            }
            Err(error) => panic!("{error}"),
        }
    }
    let file = directory.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    let taken = serve_unix(&file, Bank::open().router, std::future::ready(()), &Limits::default()).await;
    assert!(matches!(taken, Err(ListenError::NotASocket { .. })), "{taken:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}
