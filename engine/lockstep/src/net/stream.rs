//! A TCP connection as tokio's traits have it.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddrV4;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{RecvError, State};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Network;

/// Virtual time after which an attempt to connect is given up for another one, at first and at most. TCP itself waits
/// twice as long each time, and would find a machine that boots up to ten seconds late.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);
const LAST_PATIENCE: Duration = Duration::from_secs(4);

/// A connection on the control network. When it is dropped, what was written is still sent.
#[derive(Debug)]
pub struct TcpStream {
    network: Network,
    handle: SocketHandle,
}

impl TcpStream {
    pub(super) async fn connect(
        network: &Network,
        to: SocketAddrV4,
        timeout: Duration,
    ) -> Result<Self> {
        let end = Instant::now() + timeout;
        let mut patience = FIRST_PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let stream = Self {
                network: network.clone(),
                handle: network.stack().open(to)?,
            };
            network.stack().ask(*to.ip());
            let open = std::future::poll_fn(|context| stream.poll_open(context));
            match tokio::time::timeout(patience.min(left), open).await {
                Ok(Ok(())) => return Ok(stream),
                Ok(Err(error)) => return Err(Error::new(error.kind(), format!("{to}: {error}"))),
                Err(_) if patience >= left => {
                    let seconds = timeout.as_secs_f64();
                    let reason = format!("{to} does not answer within {seconds} s");
                    return Err(Error::new(ErrorKind::TimedOut, reason));
                }
                Err(_) => patience = (patience * 3 / 2).min(LAST_PATIENCE),
            }
        }
    }

    fn poll_open(&self, context: &Context<'_>) -> Poll<Result<()>> {
        let mut stack = self.network.stack();
        let socket = stack.socket(self.handle).map_err(Error::other)?;
        match socket.state() {
            State::SynSent | State::SynReceived => {
                socket.register_send_waker(context.waker());
                Poll::Pending
            }
            State::Closed => Poll::Ready(Err(ErrorKind::ConnectionRefused.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        self.network.stack().abandon(self.handle);
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let mut stack = self.network.stack();
        let socket = stack.socket(self.handle).map_err(Error::other)?;
        let taken = socket.recv(|bytes| {
            let n = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes[..n]);
            (n, n)
        });
        match taken {
            Ok(0) if buffer.remaining() > 0 => {
                socket.register_recv_waker(context.waker());
                Poll::Pending
            }
            Ok(_) | Err(RecvError::Finished) => Poll::Ready(Ok(())),
            Err(RecvError::InvalidState) => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
        }
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let mut stack = self.network.stack();
        let socket = stack.socket(self.handle).map_err(Error::other)?;
        match socket.send_slice(bytes) {
            Ok(0) if !bytes.is_empty() => {
                socket.register_send_waker(context.waker());
                Poll::Pending
            }
            Ok(n) => Poll::Ready(Ok(n)),
            Err(_) => Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
        }
    }

    /// Nothing is kept back: what was written leaves at the present grid point.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        let mut stack = self.network.stack();
        stack.socket(self.handle).map_err(Error::other)?.close();
        Poll::Ready(Ok(()))
    }
}
