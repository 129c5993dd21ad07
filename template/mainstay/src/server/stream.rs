//! The socket of a connection, as hyper or an upgraded protocol reads and writes it.
//!
//! It reports to the connection what the deadlines depend on: bytes that arrive, and bytes that the client does
//! not read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use super::connection::Connection;
use super::registry::Registry;

/// The connection counts as open until this is dropped.
pub(super) struct Stream {
    connection: Arc<Connection>,
    registry: Arc<Registry>,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    pub(super) fn new(
        connection: Arc<Connection>,
        registry: Arc<Registry>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            connection,
            registry,
            _permit: permit,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.registry.leave(self.connection.id);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let mut state = self.connection.lock();
        let read = Pin::new(&mut state.socket).poll_read(context, buffer);
        if buffer.filled().len() > before {
            state.received(self.connection.listener.now());
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let now = self.connection.listener.now();
        let mut state = self.connection.lock();
        state.greets(bytes, now);
        let written = Pin::new(&mut state.socket).poll_write(context, bytes);
        state.wrote(written, now)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let now = self.connection.listener.now();
        let mut state = self.connection.lock();
        if let Some(said) = slices.first() {
            state.greets(said, now);
        }
        let written = Pin::new(&mut state.socket).poll_write_vectored(context, slices);
        state.wrote(written, now)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// A socket keeps nothing back.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection.lock().socket).poll_shutdown(context)
    }
}
