//! The queue of checks, with a lane for each origin. A check that a client requested alone goes first, then
//! those of batches, then scheduled ones.
//!
//! - Each lane is bounded. The scheduler and single requests are refused at once if their lane is full; a
//!   batch waits.
//! - Scheduled checks do not starve: they get at least every tenth turn.

use tokio::sync::mpsc::{self, OwnedPermit, Receiver, Sender};

use super::batch::Asked;
use super::due::Due;
use super::numbers;

/// An entry of the queue.
#[derive(Debug)]
pub(super) enum Job {
    /// The check of a target, which is recorded.
    Due(Due),
    /// A check of a batch, which is reported to the waiting client.
    Asked(Asked),
}

/// The lane of a check of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// A client has requested it.
    Manual,
    Scheduled,
}

/// The sending end of the queue. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    manual: Sender<Due>,
    batch: Sender<Asked>,
    scheduled: Sender<Due>,
}

/// The receiving end.
#[derive(Debug)]
pub(super) struct Waiting {
    manual: Receiver<Due>,
    batch: Receiver<Asked>,
    scheduled: Receiver<Due>,
    /// How many entries in a row went before the scheduled ones.
    before: u32,
}

/// After this many others, a scheduled check has its turn.
const BEFORE: u32 = 9;

/// A queue with room for `most` entries in each lane.
pub(super) fn queue(most: usize) -> (Queue, Waiting) {
    let (to_manual, manual) = mpsc::channel(most);
    let (to_batch, batch) = mpsc::channel(most);
    let (to_scheduled, scheduled) = mpsc::channel(most);
    let queue = Queue {
        manual: to_manual,
        batch: to_batch,
        scheduled: to_scheduled,
    };
    let waiting = Waiting {
        manual,
        batch,
        scheduled,
        before: 0,
    };
    (queue, waiting)
}

/// A reserved place in a lane. Dropped unused, it is free again.
#[derive(Debug)]
#[must_use]
pub(super) struct Slot(OwnedPermit<Due>);

impl Slot {
    /// Queues the check.
    pub(super) fn send(self, due: Due) {
        self.0.send(due);
    }
}

impl Queue {
    /// Reserves a slot, if there is room.
    pub(super) fn reserve(&self, lane: Lane) -> Option<Slot> {
        let slot = self.lane(lane).clone().try_reserve_owned();
        slot.ok().map(Slot)
    }

    /// Queues a check of a batch, once there is room.
    pub(super) async fn ask(&self, asked: Asked) {
        // If the checkers have stopped, the dropped sender tells the waiting batch.
        _ = self.batch.send(asked).await;
    }

    pub(super) fn measure(&self) {
        numbers::queued("manual", length(&self.manual));
        numbers::queued("batch", length(&self.batch));
        numbers::queued("scheduled", length(&self.scheduled));
    }

    #[cfg(test)]
    pub(super) fn length_of_batch(&self) -> usize {
        length(&self.batch)
    }

    /// The free slots in a lane.
    #[cfg(test)]
    pub(super) fn room(&self, lane: Lane) -> usize {
        self.lane(lane).capacity()
    }

    /// Queues a check, if there is room.
    #[cfg(test)]
    #[must_use]
    pub(super) fn push(&self, lane: Lane, due: Due) -> bool {
        self.reserve(lane).map(|slot| slot.send(due)).is_some()
    }

    fn lane(&self, lane: Lane) -> &Sender<Due> {
        match lane {
            Lane::Manual => &self.manual,
            Lane::Scheduled => &self.scheduled,
        }
    }
}

fn length<T>(lane: &Sender<T>) -> usize {
    lane.max_capacity() - lane.capacity()
}

impl Waiting {
    /// The next entry. Cancel-safe. Pending for ever when all senders are gone.
    pub(super) async fn next(&mut self) -> Job {
        if self.before >= BEFORE
            && let Ok(due) = self.scheduled.try_recv()
        {
            self.before = 0;
            return Job::Due(due);
        }
        let job = tokio::select! {
            biased;
            Some(due) = self.manual.recv() => Job::Due(due),
            Some(asked) = self.batch.recv() => Job::Asked(asked),
            Some(due) = self.scheduled.recv() => {
                self.before = 0;
                return Job::Due(due);
            }
            else => std::future::pending().await,
        };
        self.before = self.before.saturating_add(1);
        job
    }

    /// An entry that is queued now, if there is one.
    pub(super) fn left(&mut self) -> Option<Job> {
        if let Ok(asked) = self.batch.try_recv() {
            return Some(Job::Asked(asked));
        }
        let due = self
            .manual
            .try_recv()
            .or_else(|_| self.scheduled.try_recv());
        due.ok().map(Job::Due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::due::tests::due;

    fn target(job: Job) -> i64 {
        match job {
            Job::Due(due) => due.target,
            Job::Asked(asked) => panic!("{asked:?}"),
        }
    }

    #[tokio::test]
    async fn requested_check_overtakes_scheduled_ones() {
        let (queue, mut waiting) = queue(3);
        for (lane, target) in [
            (Lane::Scheduled, 1),
            (Lane::Scheduled, 2),
            (Lane::Manual, 3),
            (Lane::Manual, 4),
        ] {
            assert!(queue.push(lane, due(target)));
        }
        let mut order = Vec::new();
        for _ in 0..4 {
            order.push(target(waiting.next().await));
        }
        assert_eq!(order, [3, 4, 1, 2]);
    }

    #[tokio::test]
    async fn lane_is_bounded() {
        let (queue, mut waiting) = queue(2);
        for (target, room) in [(1, 2), (2, 1)] {
            assert_eq!(queue.room(Lane::Scheduled), room);
            assert!(queue.push(Lane::Scheduled, due(target)));
        }
        assert!(!queue.push(Lane::Scheduled, due(3)));
        assert_eq!(queue.room(Lane::Manual), 2, "the other lane is free");

        waiting.next().await;
        assert_eq!(queue.room(Lane::Scheduled), 1);
    }

    #[tokio::test]
    async fn scheduled_checks_do_not_starve() {
        let (queue, mut waiting) = queue(100);
        for target in 0..100 {
            assert!(queue.push(Lane::Manual, due(target)));
            assert!(queue.push(Lane::Scheduled, due(1000 + target)));
        }
        let mut scheduled = 0;
        for turn in 1..=100 {
            scheduled += i32::from(target(waiting.next().await) >= 1000);
            assert_eq!(scheduled, turn / 10, "in {turn} turns");
        }
    }
}
