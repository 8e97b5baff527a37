//! Settings of a file log.

/// How a file log lays out its files. The defaults suit every use but tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of a shard's first segment; each next one has twice as many as the last, up to
    /// [`Settings::segment_bytes_max`]. Rounded up to 4 KiB. A record that is larger gets a segment of its size.
    pub segment_bytes_min: u64,
    /// The most bytes a segment has, at most 1 GiB.
    pub segment_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment_bytes_min: 16 << 20, segment_bytes_max: 128 << 20 }
    }
}

const BLOCK_BYTES: u64 = 4096;
const SEGMENT_BYTES_LIMIT: u64 = 1 << 30;

impl Settings {
    /// The size of a segment that follows one of `last` bytes (0: the first) and must hold `needed` bytes.
    pub(crate) fn segment_bytes(&self, last: u64, needed: u64) -> u64 {
        let max = self.segment_bytes_max.clamp(BLOCK_BYTES, SEGMENT_BYTES_LIMIT);
        let min = self.segment_bytes_min.clamp(BLOCK_BYTES, max);
        let wish = (last.saturating_mul(2)).clamp(min, max);
        wish.max(needed).next_multiple_of(BLOCK_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_grow_to_the_limit_and_hold_what_they_must() {
        let settings = Settings { segment_bytes_min: 10_000, segment_bytes_max: 40_960 };
        let mut sizes = vec![settings.segment_bytes(0, 0)];
        for _ in 0..3 {
            sizes.push(settings.segment_bytes(*sizes.last().unwrap(), 0));
        }
        assert_eq!(sizes, [12_288, 24_576, 40_960, 40_960]);
        assert_eq!(settings.segment_bytes(0, 50_000), 53_248);
        let wild = Settings { segment_bytes_min: u64::MAX, segment_bytes_max: u64::MAX };
        assert_eq!(wild.segment_bytes(0, 0), 1 << 30);
    }
}
