//! The deadline of a request. tokio's `timeout_at` prepares a timer for every request; most requests are answered at
//! once, and need none.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::{Instant, Sleep, sleep_until};

/// Runs `work` until the deadline. Returns `None` if it did not end by then.
pub(super) fn until<F: Future>(deadline: Instant, work: F) -> Until<F> {
    Until {
        work,
        deadline,
        timer: None,
    }
}

pin_project! {
    /// See [`until`].
    pub(super) struct Until<F> {
        #[pin]
        work: F,
        deadline: Instant,
        // Made when the work waits for the first time. Unconstrained, so that it also fires when the work uses up
        // the cooperative budget of its task.
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
    async fn work_ends_by_itself_or_at_the_deadline() {
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
    async fn work_that_uses_up_its_budget_ends_at_the_deadline() {
        let deadline = Instant::now() + Duration::from_millis(1);
        // It has used up the cooperative budget whenever the timer is polled.
        let busy = poll_fn(|context| -> Poll<()> {
            while let Poll::Ready(turn) = poll_proceed(context) {
                turn.made_progress();
            }
            Poll::Pending
        });
        assert_eq!(until(deadline, busy).await, None);
    }
}
