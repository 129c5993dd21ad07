//! Checks that wait for their turn, in lanes: what somebody asks for overtakes what is scheduled, and one
//! that is asked for alone overtakes those of a batch.
//!
//! - There is room for so many in each lane and no more. Whoever brings what is due and finds none is told at
//!   once; whoever waits for the end of a check can wait for its beginning.
//! - However much is asked for, what is scheduled gets on: it has every tenth turn at least.

use tokio::sync::mpsc::{self, OwnedPermit, Receiver, Sender};

use super::batch::Asked;
use super::due::Due;
use super::numbers;

/// What waits for its turn.
#[derive(Debug)]
pub(super) enum Errand {
    /// The check of a target, which is written down.
    Due(Due),
    /// One of a batch, which is told to whoever has asked.
    Asked(Asked),
}

/// Where what is due waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Somebody has asked for it.
    Manual,
    Scheduled,
}

/// The end at which checks go in. All clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    manual: Sender<Due>,
    batch: Sender<Asked>,
    scheduled: Sender<Due>,
}

/// The end at which they come out.
#[derive(Debug)]
pub(super) struct Waiting {
    manual: Receiver<Due>,
    batch: Receiver<Asked>,
    scheduled: Receiver<Due>,
    /// How many have gone before what is scheduled, one after the other.
    before: u32,
}

/// So many go before what is scheduled. Then it has a turn.
const BEFORE: u32 = 9;

/// A queue with room for so many in each lane.
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

/// Room for one check that is due, which nobody else has. Without a check, it is free again.
#[derive(Debug)]
#[must_use]
pub(super) struct Place(OwnedPermit<Due>);

impl Place {
    /// Puts it at the end of its lane.
    pub(super) fn fill(self, due: Due) {
        self.0.send(due);
    }
}

impl Queue {
    /// Room for one more, if there is any.
    pub(super) fn place(&self, lane: Lane) -> Option<Place> {
        let place = self.lane(lane).clone().try_reserve_owned();
        place.ok().map(Place)
    }

    /// Puts it at the end of the lane of batches, once there is room.
    pub(super) async fn ask(&self, asked: Asked) {
        // Where nobody makes checks any more, whoever waits for this one is told by its end.
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

    /// How many more there is room for.
    #[cfg(test)]
    pub(super) fn room(&self, lane: Lane) -> usize {
        self.lane(lane).capacity()
    }

    /// Puts it at the end of its lane, if there is room.
    #[cfg(test)]
    #[must_use]
    pub(super) fn push(&self, lane: Lane, due: Due) -> bool {
        self.place(lane).map(|place| place.fill(due)).is_some()
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
    /// The next one. Nothing is lost when this is dropped; once nobody can put anything in any more, it does
    /// not complete.
    pub(super) async fn next(&mut self) -> Errand {
        if self.before >= BEFORE
            && let Ok(due) = self.scheduled.try_recv()
        {
            self.before = 0;
            return Errand::Due(due);
        }
        let errand = tokio::select! {
            biased;
            Some(due) = self.manual.recv() => Errand::Due(due),
            Some(asked) = self.batch.recv() => Errand::Asked(asked),
            Some(due) = self.scheduled.recv() => {
                self.before = 0;
                return Errand::Due(due);
            }
            else => std::future::pending().await,
        };
        self.before = self.before.saturating_add(1);
        errand
    }

    /// One of those that wait now, if any does.
    pub(super) fn left(&mut self) -> Option<Errand> {
        if let Ok(asked) = self.batch.try_recv() {
            return Some(Errand::Asked(asked));
        }
        let due = self
            .manual
            .try_recv()
            .or_else(|_| self.scheduled.try_recv());
        due.ok().map(Errand::Due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::due::tests::due;

    fn target(errand: Errand) -> i64 {
        match errand {
            Errand::Due(due) => due.target,
            Errand::Asked(asked) => panic!("{asked:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_asked_for_overtakes_what_is_scheduled() {
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
    async fn there_is_room_for_so_many_and_no_more() {
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
    async fn what_is_scheduled_gets_on_however_much_is_asked_for() {
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
