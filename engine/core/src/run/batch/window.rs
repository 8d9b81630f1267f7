//! How many tasks there are to be.

/// A task that has less to do than this, in seconds, is hardly worth its place in a queue.
const WORTH: f64 = 600.0;
/// Tasks at the same time, if the user does not say how many.
const MOST: usize = 500;

/// How many tasks share blocks that take so many seconds in all; the user may say how many at most.
pub fn tasks(blocks: usize, seconds: f64, asked: Option<usize>) -> usize {
    let most = asked.unwrap_or_else(|| {
        let worth = (seconds / WORTH).ceil() as usize;
        worth.min(MOST)
    });
    most.min(blocks).max(1)
}

/// What is out, and what may be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    /// Tasks that there are to be.
    pub(super) wanted: usize,
    /// Blocks that nobody measures and nobody has measured.
    pub(super) free: usize,
    /// Tasks that have no block: they will take one.
    pub(super) idle: usize,
    /// Tasks that have one.
    pub(super) busy: usize,
    /// Tasks that the engine takes in an array.
    pub(super) array: Option<u32>,
    /// Tasks of a user that it lets wait or run.
    pub(super) queued: Option<u32>,
}

impl Window {
    /// How many tasks to submit now.
    pub(super) fn next(&self) -> u32 {
        let out = self.idle + self.busy;
        let queued = self.queued.map_or(usize::MAX, |most| most as usize);
        let room = self.wanted.min(queued).saturating_sub(out);
        let useful = self.free.saturating_sub(self.idle);
        let next = u32::try_from(room.min(useful)).unwrap_or(u32::MAX);
        next.min(self.array.unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_as_many_as_are_worth_it() {
        assert_eq!(tasks(10_000, 600_000.0, None), 500);
        assert_eq!(tasks(10_000, 60_000.0, None), 100);
        assert_eq!(tasks(3, 600_000.0, None), 3);
        assert_eq!(tasks(3, 1.0, None), 1);
        assert_eq!(tasks(30, 1.0, Some(8)), 8);
        assert_eq!(tasks(0, 0.0, None), 1);
    }

    #[test]
    fn a_window_keeps_to_all_limits_and_never_submits_what_has_nothing_to_do() {
        let window = Window {
            wanted: 64,
            free: 10_000,
            ..Window::default()
        };
        assert_eq!(window.next(), 64);
        let small = |array, queued| Window {
            array,
            queued,
            ..window
        };
        assert_eq!(small(Some(10), None).next(), 10);
        assert_eq!(small(None, Some(30)).next(), 30);
        let full = Window {
            idle: 10,
            busy: 20,
            ..small(Some(10), Some(35))
        };
        assert_eq!(full.next(), 5);
        let last = Window {
            free: 3,
            idle: 2,
            busy: 4,
            ..window
        };
        assert_eq!(last.next(), 1);
        assert_eq!(Window { idle: 3, ..last }.next(), 0);
        assert_eq!(Window { idle: 80, ..window }.next(), 0);
    }
}
