//! The deadline of a request. tokio's `timeout_at` registers a timer for every request; most requests are answered at
//! once, and need none.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::{Instant, Sleep, sleep_until};

/// Runs this to its end, or until the deadline: then there is nothing.
pub(super) fn until<F: Future>(deadline: Instant, work: F) -> Until<F> {
    let timer = None;
    Until {
        work,
        deadline,
        timer,
    }
}

pin_project! {
    /// See [`until`].
    pub(super) struct Until<F> {
        #[pin]
        work: F,
        deadline: Instant,
        // There is one once something is waited for. Work that never stops to wait leaves it time as well.
        timer: Option<Pin<Box<Unconstrained<Sleep>>>>,
    }
}

impl<F: Future> Future for Until<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let this = self.project();
        if let Poll::Ready(done) = this.work.poll(context) {
            return Poll::Ready(Some(done));
        }
        let deadline = *this.deadline;
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(unconstrained(sleep_until(deadline))));
        timer.as_mut().poll(context).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::time::Duration;

    use tokio::task::coop::poll_proceed;
    use tokio::time::sleep;

    use super::*;

    const TIME: Duration = Duration::from_secs(3);

    #[tokio::test(start_paused = true)]
    async fn what_is_done_in_time_is_done() {
        let deadline = Instant::now() + TIME;
        assert_eq!(until(deadline, async { 1 }).await, Some(1));
        let slow = async {
            sleep(TIME / 2).await;
            2
        };
        assert_eq!(until(deadline, slow).await, Some(2));
        assert_eq!(until(deadline, pending::<()>()).await, None);
        assert_eq!(Instant::now(), deadline);
    }

    #[tokio::test]
    async fn work_that_takes_every_turn_has_its_end_as_well() {
        let deadline = Instant::now() + Duration::from_millis(1);
        // It has used up what a task may do at once whenever the timer is looked at.
        let busy = poll_fn(|context| -> Poll<()> {
            while let Poll::Ready(turn) = poll_proceed(context) {
                turn.made_progress();
            }
            Poll::Pending
        });
        assert_eq!(until(deadline, busy).await, None);
    }
}
