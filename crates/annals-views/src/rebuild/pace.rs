//! How fast a build comes on, and when it will have caught up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far back the rate looks at least; later it looks at the second half of the time there was, for a build slows down
/// as it grows.
const WINDOW_MIN: Duration = Duration::from_secs(2);
/// Points kept in a window.
const POINTS: u32 = 50;

/// Records taken in and records there are, over time.
pub(super) struct Pace {
    began: Instant,
    points: VecDeque<(Instant, (u64, u64))>,
    last: (Instant, (u64, u64)),
}

impl Pace {
    pub(super) fn new(records: (u64, u64), now: Instant) -> Self {
        Self { began: now, points: VecDeque::from([(now, records)]), last: (now, records) }
    }

    pub(super) fn note(&mut self, records: (u64, u64), now: Instant) {
        self.last = (now, records);
        let window = (now.duration_since(self.began) / 2).max(WINDOW_MIN);
        if self.points.back().is_none_or(|(at, _)| now.duration_since(*at) >= window / POINTS) {
            self.points.push_back(self.last);
        }
        while self.points.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= window) {
            self.points.pop_front();
        }
    }

    /// Records a second, lately.
    pub(super) fn rate(&self) -> f64 {
        self.rates().0
    }

    /// How long until all records are taken in, if both go on as lately; `None` if that does not get nearer.
    pub(super) fn seconds_left(&self, (done, total): (u64, u64)) -> Option<f64> {
        let (taken, added) = self.rates();
        let nearer = taken - added;
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let left = total.saturating_sub(done) as f64;
        (nearer > 0.0).then_some(left / nearer)
    }

    pub(super) fn seconds(&self) -> f64 {
        self.last.0.duration_since(self.began).as_secs_f64()
    }

    /// Records taken in and records added a second.
    fn rates(&self) -> (f64, f64) {
        let Some((at, (done, total))) = self.points.front() else { return (0.0, 0.0) };
        let (now, (done_now, total_now)) = self.last;
        let seconds = now.duration_since(*at).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let rate = |before: u64, after: u64| {
            if seconds > 0.0 { after.saturating_sub(before) as f64 / seconds } else { 0.0 }
        };
        (rate(*done, done_now), rate(*total, total_now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_where_the_lately_rate_leads() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let mut pace = Pace::new((0, 1_000), began);
        assert_eq!((pace.rate(), pace.seconds_left((0, 1_000))), (0.0, None));
        // 100 a second, while 20 a second are added.
        for second in 1..=5 {
            pace.note((100 * second, 1_000 + 20 * second), at(second));
        }
        assert_eq!((pace.rate(), pace.seconds_left((500, 1_100))), (100.0, Some(7.5)));
        // Then slower than they are added, until the first half is forgotten.
        for second in 6..=25 {
            pace.note((500 + 10 * (second - 5), 1_000 + 20 * second), at(second));
        }
        assert_eq!((pace.rate(), pace.seconds_left((700, 1_500))), (10.0, None));
        assert_eq!(pace.seconds(), 25.0);
        assert!(pace.points.len() <= 52);
    }
}
