//! What a reader gets if it stalls, leaves, or its disk is full.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::ioctl_fionbio;

use super::*;
use crate::tests::PATIENCE;

/// An output that takes as many bytes as a test allows.
#[derive(Debug, Clone, Default)]
struct Reader(Arc<(Mutex<Read>, Condvar)>);

#[derive(Debug, Default)]
struct Read {
    text: String,
    /// The bytes that are still taken; `None` for all.
    room: Option<usize>,
    /// A call without room fails with this, or waits.
    fails: Option<ErrorKind>,
    calls: usize,
}

impl Reader {
    fn with(room: usize, fails: Option<ErrorKind>) -> Self {
        let reader = Self::default();
        reader.change(|read| (read.room, read.fails) = (Some(room), fails));
        reader
    }

    fn change<T>(&self, change: impl FnOnce(&mut Read) -> T) -> T {
        let (read, changed) = &*self.0;
        let result = change(&mut read.lock().unwrap());
        changed.notify_all();
        result
    }

    fn reads_on(&self) {
        self.change(|read| read.room = None);
    }

    fn text(&self) -> String {
        self.change(|read| read.text.clone())
    }

    /// Waits until the thread has called so often.
    fn is_called(&self, times: usize) {
        let (read, changed) = &*self.0;
        let read = read.lock().unwrap();
        let waited = changed.wait_timeout_while(read, PATIENCE, |read| read.calls < times);
        assert!(!waited.unwrap().1.timed_out(), "the thread does not write");
    }
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (read, changed) = &*self.0;
        let mut read = read.lock().unwrap();
        read.calls += 1;
        changed.notify_all();
        let full = |read: &mut Read| read.room == Some(0);
        if let (true, Some(kind)) = (full(&mut read), read.fails) {
            return Err(kind.into());
        }
        let mut read = changed.wait_while(read, full).unwrap();
        let taken = read.room.unwrap_or(bytes.len()).min(bytes.len());
        read.room = read.room.map(|room| room - taken);
        read.text += std::str::from_utf8(&bytes[..taken]).unwrap();
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const SIZE: usize = 4096;

fn writer(reader: &Reader) -> &'static Writer {
    Writer::start(SIZE, reader.clone()).unwrap()
}

/// A line with this number, and of a hundred bytes.
fn line(number: usize) -> String {
    format!("{number:099}\n")
}

fn append(writer: &Writer, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        writer.append(line(number).as_bytes());
    }
}

fn lines(numbers: impl IntoIterator<Item = usize>) -> String {
    numbers.into_iter().map(line).collect()
}

#[test]
fn lines_of_threads_stay_whole_and_in_order() {
    let reader = Reader::default();
    let writer = Writer::start(1 << 20, reader.clone()).unwrap();
    thread::scope(|scope| {
        for start in [0, 1000, 2000, 3000] {
            scope.spawn(move || append(writer, start..start + 1000));
        }
    });

    writer.flush(PATIENCE);

    let text = reader.text();
    let numbers: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers.len(), 4000);
    for start in [0, 1000, 2000, 3000] {
        let of_thread = numbers.iter().filter(|it| **it / 1000 == start / 1000);
        assert!(of_thread.copied().eq(start..start + 1000), "{start}");
    }
    assert_eq!(writer.lost(), 0);
}

#[test]
fn stalled_reader_blocks_no_thread_and_sees_what_was_lost() {
    let reader = Reader::with(0, None);
    let writer = writer(&reader);
    append(writer, [0]);
    reader.is_called(1);

    // One is being written, twenty fit, and a short one would as well.
    append(writer, 1..100);
    writer.append(b"short\n");
    assert_eq!(writer.lost(), 80);
    reader.reads_on();
    writer.flush(PATIENCE);
    // What gathered is written in one call.
    assert_eq!(reader.change(|read| read.calls), 2);
    append(writer, 100..102);
    writer.flush(PATIENCE);

    let text = reader.text();
    let behind = text.strip_prefix(&*lines(0..21)).expect(&text);
    let (event, later) = behind.split_once('\n').unwrap();
    let event: serde_json::Value = serde_json::from_str(event).unwrap();
    assert_eq!(event["level"], "WARN");
    assert_eq!(event["message"], message::LOST);
    assert_eq!(event["lost"], 80);
    assert_eq!(later, lines(100..102));
    assert_eq!(writer.lost(), 80);
}

#[test]
fn buffer_never_grows() {
    let reader = Reader::with(0, None);
    let writer = writer(&reader);
    let room = |writer: &Writer| lock(&writer.state).lines.capacity();
    let before = room(writer);

    append(writer, 0..1000);
    assert_eq!(room(writer), before);
    reader.reads_on();
    writer.flush(PATIENCE);
    append(writer, 0..1000);
    writer.flush(PATIENCE);

    assert_eq!(room(writer), before);
    assert!(before <= SIZE / 2 + LOSS_REPORT);
}

#[test]
fn output_continues_at_the_byte_where_a_full_disk_stopped_it() {
    let reader = Reader::with(150, Some(ErrorKind::StorageFull));
    let writer = writer(&reader);
    append(writer, 0..3);
    // By the fourth call at the latest, one was refused.
    reader.is_called(4);
    assert_eq!(reader.text(), lines(0..2)[..150]);

    append(writer, 3..5);
    reader.reads_on();
    writer.flush(PATIENCE);

    assert_eq!(reader.text(), lines(0..5));
    assert_eq!(writer.lost(), 0);
}

#[test]
fn closed_reader_blocks_no_thread() {
    let began = Instant::now();
    let reader = Reader::with(0, Some(ErrorKind::BrokenPipe));
    let writer = writer(&reader);

    append(writer, 0..1000);
    writer.flush(PATIENCE);
    append(writer, 0..1000);
    writer.flush(PATIENCE);

    assert!(began.elapsed() < PATIENCE, "took {:?}", began.elapsed());
}

#[test]
fn nonblocking_pipe_gets_every_line() {
    let (mut reader, mut pipe) = io::pipe().unwrap();
    ioctl_fionbio(&pipe, true).unwrap();
    let mut filled = 0;
    while let Ok(written) = pipe.write(&[b' '; 1024]) {
        filled += written;
    }
    let writer = Writer::start(SIZE, pipe).unwrap();
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
