//! Groups of tasks, each of which depends on those before it: when one fails, those after it stop, and
//! restart after it.

use tokio::sync::watch;

/// Tasks that depend on each other, in the order in which they joined: when one fails, the supervisor stops
/// those after it, restarts it, and then restarts them. Erlang calls this strategy `rest_for_one`.
#[derive(Debug, Clone)]
pub struct Group(watch::Sender<Vec<Member>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    Running,
    /// Has failed, and will start again.
    Down,
    /// Stopped because of one before it.
    Held,
    /// Has ended for good: nobody waits for it any more.
    Gone,
}

impl Default for Group {
    fn default() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }
}

/// A task's place in its group. A task without a group is on its own, and never waits.
#[derive(Debug, Clone)]
pub(super) struct Place {
    group: Group,
    index: usize,
}

impl Group {
    pub(super) fn join(&self) -> Place {
        let mut index = 0;
        self.0.send_modify(|members| {
            index = members.len();
            members.push(Member::Running);
        });
        Place {
            group: self.clone(),
            index,
        }
    }
}

impl Place {
    pub(super) fn set(&self, member: Member) {
        self.group
            .0
            .send_modify(|members| members[self.index] = member);
    }

    /// Completes when one before this has failed.
    pub(super) async fn must_stop(&self) {
        self.when(|before, _| before.contains(&Member::Down)).await;
    }

    /// Completes when those after this have stopped, as they have to before this does.
    pub(super) async fn may_stop(&self) {
        self.when(|_, after| !after.contains(&Member::Running))
            .await;
    }

    /// Completes when those before this are running, and those after it have stopped.
    pub(super) async fn may_start(&self) {
        self.when(|before, after| {
            before
                .iter()
                .all(|member| matches!(member, Member::Running | Member::Gone))
                && !after.contains(&Member::Running)
        })
        .await;
    }

    async fn when(&self, holds: impl Fn(&[Member], &[Member]) -> bool) {
        let mut members = self.group.0.subscribe();
        // The sender is in `self`, so that this wait ends only when it holds.
        _ = members
            .wait_for(|members| {
                let (before, rest) = members.split_at(self.index);
                holds(before, &rest[1..])
            })
            .await;
    }
}
