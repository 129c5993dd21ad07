//! Connections that stay open: server-sent events, and web sockets that close at the drain or do not.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{Stream, stream};
use mainstay::server::Drain;

pub(super) fn routes() -> Router {
    Router::new()
        .route("/events", get(events))
        .route("/ws", get(polite))
        .route("/ws-deaf", get(deaf))
}

/// An event every 100 ms, without end.
async fn events() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::unfold(0_u64, |number| async move {
        if number > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Some((Ok(Event::default().data(number.to_string())), number + 1))
    }))
}

/// Sends a close frame at the drain, and waits for the client's.
async fn polite(upgrade: WebSocketUpgrade, drain: Drain) -> Response {
    upgrade
        .on_upgrade(|socket| talk(socket, drain))
        .into_response()
}

async fn talk(mut socket: WebSocket, drain: Drain) {
    loop {
        let received = tokio::select! {
            () = drain.begun() => break,
            received = socket.recv() => received,
        };
        match received {
            Some(Ok(Message::Text(text))) => {
                if socket.send(Message::Text(text)).await.is_err() {
                    return;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
    let goodbye = CloseFrame {
        code: close_code::AWAY,
        reason: "the service stops".into(),
    };
    if socket.send(Message::Close(Some(goodbye))).await.is_err() {
        return;
    }
    while let Some(Ok(message)) = socket.recv().await {
        if let Message::Text(text) = message {
            tracing::info!(text = text.as_str(), "heard after goodbye");
        } else {
            tracing::info!("goodbye answered");
        }
    }
}

/// Ignores the drain.
async fn deaf(upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .on_upgrade(|mut socket| async move { while let Some(Ok(_)) = socket.recv().await {} })
        .into_response()
}
