//! Work on threads, which blocks until the test releases it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as gate;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{FutureExt, pin_mut};
use tokio::sync::oneshot;

use super::*;
use crate::tests::PATIENCE;

fn with_permits(permits: usize) -> Cpu {
    let permits = Arc::new(Semaphore::new(permits));
    let running = TaskTracker::new();
    Cpu { permits, running }
}

/// Begins work whose caller leaves. It ends when the sender is dropped.
async fn begin(cpu: &Cpu) -> gate::Sender<()> {
    let (tell, begun) = oneshot::channel();
    let (release, gate) = gate::channel();
    let work = move || {
        tell.send(()).unwrap();
        _ = gate.recv_timeout(PATIENCE);
    };
    assert!(cpu.run(work).now_or_never().is_none());
    begun.await.unwrap();
    release
}

#[tokio::test]
async fn cpu_pool_never_exceeds_its_limit_and_does_all_work() {
    let cpu = with_permits(3);
    let at_once = Arc::new(AtomicUsize::new(0));
    let work = |number: usize| {
        let at_once = Arc::clone(&at_once);
        move || {
            let most = at_once.fetch_add(1, Ordering::SeqCst) + 1;
            std::thread::sleep(Duration::from_millis(1));
            at_once.fetch_sub(1, Ordering::SeqCst);
            (number, most)
        }
    };

    let done = join_all((0..100).map(|number| cpu.run(work(number)))).await;

    let done: Vec<_> = done.into_iter().map(Result::unwrap).collect();
    assert!(done.iter().map(|(number, _)| *number).eq(0..100));
    let most = done.iter().map(|(_, most)| *most).max();
    assert!((2..=3).contains(&most.unwrap()), "{most:?}");
}

#[tokio::test]
async fn cancelled_caller_leaves_the_queue() {
    let cpu = with_permits(1);
    // Work that has begun keeps its permit without a caller.
    let first = begin(&cpu).await;
    let second = cpu.run(|| panic!("its caller has left")).now_or_never();
    assert!(second.is_none());
    let third = cpu.run(|| 3);
    pin_mut!(third);
    assert!(third.as_mut().now_or_never().is_none());

    drop(first);

    assert_eq!(third.await, Ok(3));
}

#[tokio::test]
async fn panic_is_an_error_and_releases_the_permit() {
    let cpu = with_permits(1);

    let failed = cpu.run(|| panic!("on purpose")).await;

    let Err(Error::Panicked(words)) = failed else {
        panic!("{failed:?}");
    };
    assert!(words.contains("on purpose"), "{words}");
    assert_eq!(cpu.run(|| 1 + 1).await, Ok(2));
}

#[tokio::test]
async fn stop_waits_for_begun_work_and_begins_none() {
    let cpu = with_permits(1);
    let begun = begin(&cpu).await;
    let waiting = cpu.run(|| panic!("begun after the stop"));
    pin_mut!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());

    let stop = cpu.stop(Instant::now() + PATIENCE);
    pin_mut!(stop);
    assert!(stop.as_mut().now_or_never().is_none());
    assert_eq!(waiting.await, Err::<(), _>(Error::Stopping));
    assert_eq!(cpu.run(|| ()).await, Err(Error::Stopping));
    drop(begun);

    assert_eq!(stop.await, [""; 0]);
}

#[tokio::test]
async fn stop_names_work_that_does_not_end() {
    let cpu = with_permits(2);
    let begun = begin(&cpu).await;

    assert_eq!(cpu.stop(Instant::now()).await, ["CPU-bound work (1)"]);

    drop(begun);
}
