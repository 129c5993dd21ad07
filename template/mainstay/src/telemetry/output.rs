//! Where the log's bytes go in the end.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// The descriptor itself: what `std` has around it keeps lines of its own, and a lock.
#[derive(Debug)]
pub(super) struct Output<Descriptor>(pub(super) Descriptor);

impl<Descriptor: AsFd> Write for Output<Descriptor> {
    /// Waits until there is room, whatever the descriptor says of that: whoever else has it may have
    /// made it one that does not, and its reader reads on all the same.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.0, bytes) {
                Err(Errno::AGAIN) => wait_for_room(self.0.as_fd())?,
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wait_for_room(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut room = [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)];
    // A reader that goes is an end of it as well.
    poll(&mut room, None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Read};
    use std::time::{Duration, Instant};

    use rustix::io::ioctl_fionbio;

    use super::*;
    use crate::telemetry::writer::Writer;

    /// Longer than anything here takes; only a failure waits for it.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A pipe that keeps nobody waiting, and has no room, with how many bytes are in it.
    fn full() -> (PipeReader, PipeWriter, usize) {
        let (reader, mut pipe) = io::pipe().unwrap();
        ioctl_fionbio(&pipe, true).unwrap();
        let mut filled = 0;
        while let Ok(written) = pipe.write(&[b' '; 1024]) {
            filled += written;
        }
        (reader, pipe, filled)
    }

    fn writer(pipe: PipeWriter) -> Writer {
        Writer::start(4096, Output(pipe), |lost| format!("lost {lost}\n")).unwrap()
    }

    #[test]
    fn nonblocking_pipe_gets_every_line() {
        let (mut reader, pipe, filled) = full();
        let writer = writer(pipe);
        writer.append(b"last\n");
        let limit = Duration::from_millis(50);

        let began = Instant::now();
        writer.flush(limit);
        let waited = began.elapsed();
        let mut text = vec![0; filled + 5];
        reader.read_exact(&mut text).unwrap();
        writer.flush(PATIENCE);

        assert!(text.ends_with(b"last\n"));
        assert!(waited >= limit, "it gave up after {waited:?}");
        assert!(began.elapsed() < PATIENCE, "and not beyond the limit");
    }

    #[test]
    fn when_its_reader_goes_nobody_waits_any_more() {
        let (reader, pipe, _) = full();
        let writer = writer(pipe);
        writer.append(b"last\n");
        let began = Instant::now();

        drop(reader);
        writer.flush(PATIENCE);

        assert!(began.elapsed() < PATIENCE);
    }
}
