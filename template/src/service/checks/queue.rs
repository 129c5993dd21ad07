//! Checks that wait for their turn, in two lanes: what somebody asks for overtakes what is scheduled.
//!
//! There is room for so many and no more. Whoever finds none is told at once.

use tokio::sync::mpsc::{self, Receiver, Sender};

use super::due::Due;
use super::numbers;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Somebody waits for it.
    Manual,
    Scheduled,
}

/// The end at which checks go in. All clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    manual: Sender<Due>,
    scheduled: Sender<Due>,
}

/// The end at which they come out.
#[derive(Debug)]
pub(super) struct Waiting {
    manual: Receiver<Due>,
    scheduled: Receiver<Due>,
}

/// A queue with room for so many in each lane.
pub(super) fn queue(most: usize) -> (Queue, Waiting) {
    let (to_manual, manual) = mpsc::channel(most);
    let (to_scheduled, scheduled) = mpsc::channel(most);
    let queue = Queue {
        manual: to_manual,
        scheduled: to_scheduled,
    };
    (queue, Waiting { manual, scheduled })
}

impl Queue {
    /// How many more there is room for.
    pub(super) fn room(&self, lane: Lane) -> usize {
        self.lane(lane).capacity()
    }

    /// Puts it at the end of its lane, if there is room.
    #[must_use]
    pub(super) fn push(&self, lane: Lane, due: Due) -> bool {
        self.lane(lane).try_send(due).is_ok()
    }

    pub(super) fn measure(&self) {
        for (lane, name) in [(Lane::Manual, "manual"), (Lane::Scheduled, "scheduled")] {
            let lane = self.lane(lane);
            numbers::queued(name, lane.max_capacity() - lane.capacity());
        }
    }

    fn lane(&self, lane: Lane) -> &Sender<Due> {
        match lane {
            Lane::Manual => &self.manual,
            Lane::Scheduled => &self.scheduled,
        }
    }
}

impl Waiting {
    /// The next one: of what is scheduled only where nothing is asked for. Nothing is lost when this is
    /// dropped; once nobody can put anything in any more, it does not complete.
    pub(super) async fn next(&mut self) -> Due {
        tokio::select! {
            biased;
            Some(due) = self.manual.recv() => due,
            Some(due) = self.scheduled.recv() => due,
            else => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::checks::due::tests::due;

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
            order.push(waiting.next().await.target);
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
}
