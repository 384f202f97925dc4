//! The buckets of sliding windows: their widths and their names.

use std::fmt::Write;

use crate::lattice::keys::names::BUCKET_PREFIX;

/// The most buckets of a window.
const BUCKETS_MAX: u64 = 1_000;

/// The longest window, in milliseconds: 31 days.
const WINDOW_MS_MAX: u64 = 31 * 24 * 3_600 * 1_000;

/// The width of a window: a number of buckets, and the milliseconds of each. Windows of one name
/// and different widths are different windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WindowWidth {
    bucket_ms: u64,
    buckets: u64,
}

impl WindowWidth {
    /// A width; None if it is 0 or more than 31 days, or has more than 1,000 buckets.
    pub const fn new(bucket_ms: u64, buckets: u64) -> Option<Self> {
        if bucket_ms == 0 || buckets == 0 || buckets > BUCKETS_MAX {
            return None;
        }
        match bucket_ms.checked_mul(buckets) {
            Some(all) if all <= WINDOW_MS_MAX => Some(Self { bucket_ms, buckets }),
            _ => None,
        }
    }

    /// The whole width, in milliseconds.
    pub const fn all_ms(self) -> u64 {
        self.bucket_ms * self.buckets
    }

    /// When the bucket of this time expires.
    pub(super) const fn expiry_of(self, at_ms: u64) -> u64 {
        (at_ms / self.bucket_ms + self.buckets) * self.bucket_ms
    }

    /// A moment in each bucket that counts at this time, the oldest first.
    pub(super) fn moments(self, now_ms: u64) -> impl Iterator<Item = u64> {
        (0..self.buckets).rev().filter_map(move |back| now_ms.checked_sub(back * self.bucket_ms))
    }
}

/// Builds the names of buckets. All windows of one width share the start of the name, which is kept
/// from one add to the next.
#[derive(Debug, Default)]
pub(super) struct BucketName {
    text: String,
    /// The width and the first moment of the bucket.
    bucket: Option<(WindowWidth, u64)>,
    start_bytes: usize,
}

impl BucketName {
    /// The name of a window's bucket at this time.
    #[inline]
    pub(super) fn of(&mut self, window: &str, width: WindowWidth, at_ms: u64) -> &str {
        let is_same = self.bucket.is_some_and(|(held, from)| {
            held == width && at_ms.checked_sub(from).is_some_and(|since| since < width.bucket_ms)
        });
        if !is_same {
            self.set_start(width, at_ms);
        }
        self.text.truncate(self.start_bytes);
        self.text.push_str(window);
        &self.text
    }

    #[cold]
    fn set_start(&mut self, width: WindowWidth, at_ms: u64) {
        let (WindowWidth { bucket_ms, buckets }, expires_at) = (width, width.expiry_of(at_ms));
        self.text.clear();
        // Fourteen digits last until the year 5138, and sort as numbers do.
        let written =
            write!(self.text, "{BUCKET_PREFIX}{expires_at:014}{bucket_ms:x}/{buckets:x}:");
        debug_assert!(written.is_ok(), "a String takes everything");
        self.bucket = Some((width, expires_at.saturating_sub(width.all_ms())));
        self.start_bytes = self.text.len();
    }
}

/// When the bucket of this name expires; None for other names.
pub(super) fn expiry_in(name: &str) -> Option<u64> {
    name.strip_prefix(BUCKET_PREFIX)?.get(..14)?.parse().ok()
}
