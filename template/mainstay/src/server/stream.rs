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
    registry: Arc<Registry>,
    connection: Arc<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    pub(super) fn new(
        registry: Arc<Registry>,
        connection: Arc<Connection>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            registry,
            connection,
            _permit: permit,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.registry.leave(&self.connection);
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
        if let bytes @ [_, ..] = &buffer.filled()[before..] {
            state.received(bytes, self.connection.listener.now());
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
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.connection.lock();
        let written = Pin::new(&mut state.socket).poll_write_vectored(context, slices);
        state.wrote(written.is_ready(), self.connection.listener.now());
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// A socket has no buffer to flush.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection.lock().socket).poll_shutdown(context)
    }
}
