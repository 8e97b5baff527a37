//! From samples to figures: quantiles inside a round, medians over rounds.
//!
//! Invariant: a figure and its limit come from the same rounds, and the ratio is the median of the ratios taken
//! round by round, so that a machine that is slower for a while is slower for both.

use std::time::{Duration, Instant};

use super::error::BenchError;

/// What was measured in one go.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// How many events, commands or loads there were.
    pub(super) operations: u64,
    /// How long they took together, in seconds.
    pub(super) seconds: f64,
    /// How long each of them (or each group of them) took, in nanoseconds, in any order; may be empty.
    pub(super) latencies_ns: Vec<u64>,
    /// The processor time of the whole process meanwhile, in seconds; `None` where the system does not tell.
    pub(super) cpu_seconds: Option<f64>,
}

impl Sample {
    /// Measures one pass that does so many operations.
    pub(super) fn pass(run: impl FnOnce() -> Result<u64, BenchError>) -> Result<Self, BenchError> {
        Self::taken(|sample| {
            sample.operations = run()?;
            Ok(())
        })
    }

    /// Repeats `run`, which does `operations` of them, for so long, and measures each repetition.
    pub(super) fn repeat(
        time: Duration,
        operations: u64,
        mut run: impl FnMut() -> Result<(), BenchError>,
    ) -> Result<Self, BenchError> {
        Self::taken(|sample| {
            let began = Instant::now();
            let mut last = began;
            while last - began < time || sample.operations == 0 {
                run()?;
                let now = Instant::now();
                sample.latencies_ns.push(nanoseconds(now - last));
                sample.operations += operations;
                last = now;
            }
            Ok(())
        })
    }

    /// Lets `fill` count, and measures the time and processor time of it.
    pub(super) fn taken(fill: impl FnOnce(&mut Self) -> Result<(), BenchError>) -> Result<Self, BenchError> {
        let mut sample = Self::default();
        let cpu = cpu_seconds();
        let began = Instant::now();
        fill(&mut sample)?;
        sample.seconds = began.elapsed().as_secs_f64();
        sample.cpu_seconds = cpu.zip(cpu_seconds()).map(|(before, after)| after - before);
        Ok(sample)
    }

    /// Counts operations that took so long.
    pub(super) fn add(&mut self, latencies_ns: Vec<u64>) {
        self.operations += latencies_ns.len() as u64;
        self.latencies_ns.extend(latencies_ns);
    }

    fn rate_per_s(&self) -> f64 {
        self.operations as f64 / self.seconds.max(1e-9)
    }

    /// The latency in microseconds that `part` of all stay below or reach.
    fn quantile_us(&mut self, part: f64) -> Option<f64> {
        self.latencies_ns.sort_unstable();
        let rank = (self.latencies_ns.len() as f64 * part).ceil() as usize;
        self.latencies_ns.get(rank.saturating_sub(1)).map(|ns| *ns as f64 / 1e3)
    }
}

/// A figure: medians over rounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figure {
    pub(super) rate_per_s: f64,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    /// Processor time of the process for one operation, over all rounds.
    pub(super) cpu_us: Option<f64>,
}

impl Figure {
    /// The medians of these rounds.
    pub(super) fn of(rounds: &mut [Sample]) -> Self {
        let operations: u64 = rounds.iter().map(|round| round.operations).sum();
        let cpu: Option<f64> = rounds.iter().map(|round| round.cpu_seconds).sum();
        Self {
            rate_per_s: median(rounds.iter().map(Sample::rate_per_s)).unwrap_or_default(),
            p50_us: median(rounds.iter_mut().filter_map(|round| round.quantile_us(0.50))),
            p99_us: median(rounds.iter_mut().filter_map(|round| round.quantile_us(0.99))),
            cpu_us: cpu.filter(|_| operations > 0).map(|seconds| seconds * 1e6 / operations as f64),
        }
    }
}

/// Ours beside the limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Compared {
    pub(super) ours: Figure,
    pub(super) limit: Figure,
    /// The median of the rounds' ratios of rates.
    pub(super) ratio: f64,
}

/// How many rounds there are and how long each side of one takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rounds {
    pub(super) count: u32,
    pub(super) time: Duration,
}

impl Rounds {
    /// Takes `limit` and `ours` in turn, each told how long it may take.
    pub(super) fn compare(
        self,
        mut limit: impl FnMut(Duration) -> Result<Sample, BenchError>,
        mut ours: impl FnMut(Duration) -> Result<Sample, BenchError>,
    ) -> Result<Compared, BenchError> {
        let (mut limits, mut figures) = (Vec::new(), Vec::new());
        for _ in 0..self.count {
            limits.push(limit(self.time)?);
            figures.push(ours(self.time)?);
        }
        let ratios = figures.iter().zip(&limits).map(|(ours, limit)| ours.rate_per_s() / limit.rate_per_s());
        let ratio = median(ratios).unwrap_or_default();
        Ok(Compared { ours: Figure::of(&mut figures), limit: Figure::of(&mut limits), ratio })
    }
}

/// The middle value; of an even number of values the mean of the two in the middle.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle)?;
    let lower = if values.len().is_multiple_of(2) { values.get(middle.checked_sub(1)?)? } else { upper };
    Some(f64::midpoint(*lower, *upper))
}

/// Nanoseconds, at most what the type holds.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The processor time of this process so far.
fn cpu_seconds() -> Option<f64> {
    /// Linux counts `/proc/self/stat` in this unit on every processor we know (`USER_HZ`).
    const TICKS_PER_S: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    Some(cpu_ticks(&stat)? as f64 / TICKS_PER_S)
}

/// User and system time of the text of `/proc/self/stat`.
fn cpu_ticks(stat: &str) -> Option<u64> {
    // The second field, the program's name, may hold spaces and brackets; the third begins after the last one.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(operations: u64, seconds: f64, latencies_us: &[u64]) -> Sample {
        let latencies_ns = latencies_us.iter().map(|us| us * 1_000).collect();
        Sample { operations, seconds, latencies_ns, cpu_seconds: Some(seconds / 2.0) }
    }

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([3.0].into_iter()), Some(3.0));
        assert_eq!(median([9.0, 1.0, 4.0].into_iter()), Some(4.0));
        assert_eq!(median([9.0, 1.0, 4.0, 2.0].into_iter()), Some(3.0));
        let mut hundred = sample(100, 1.0, &(1..=100).rev().collect::<Vec<_>>());
        assert_eq!(hundred.quantile_us(0.50), Some(50.0));
        assert_eq!(hundred.quantile_us(0.99), Some(99.0));
        let mut one = sample(1, 1.0, &[7]);
        assert_eq!((one.quantile_us(0.5), one.quantile_us(0.99)), (Some(7.0), Some(7.0)));
        assert_eq!(sample(1, 1.0, &[]).quantile_us(0.5), None);
    }

    #[test]
    fn the_ratio_is_taken_round_by_round() {
        // The machine gets slower from round to round, and ours is held up in one of them.
        let rounds = Rounds { count: 3, time: Duration::ZERO };
        let (mut limit, mut ours) = ([400, 200, 100].iter(), [200, 50, 50].iter());
        let compared = rounds
            .compare(
                |_| Ok(sample(*limit.next().unwrap(), 1.0, &[1])),
                |_| Ok(sample(*ours.next().unwrap(), 1.0, &[2])),
            )
            .unwrap();
        assert_eq!(compared.ratio, 0.5);
        assert_eq!((compared.limit.rate_per_s, compared.ours.rate_per_s), (200.0, 50.0));
        assert_eq!((compared.limit.p50_us, compared.ours.p99_us), (Some(1.0), Some(2.0)));
        // 300 operations in 3 rounds of half a second of processor time.
        assert_eq!(compared.ours.cpu_us, Some(1.5e6 / 300.0));
    }

    #[test]
    fn a_repetition_happens_at_least_once_and_counts_groups() {
        let sample = Sample::repeat(Duration::ZERO, 8, || Ok(())).unwrap();
        assert_eq!((sample.operations, sample.latencies_ns.len()), (8, 1));
    }

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 1 0 0 0 120 30 0 0 20 0 1 0 5 0 0";
        assert_eq!(cpu_ticks(stat), Some(150));
        assert_eq!(cpu_ticks("nonsense"), None);
    }
}
