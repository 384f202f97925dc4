//! Limits for each connection and each address: token buckets for adds, and a count of connections
//! for each address. Their memory is bounded.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::api::error::ApiError;

/// The adds in a full bucket, whatever the rate is.
const BURST: f64 = 1_000.0;

/// The most addresses in the table. When it is full, idle ones are forgotten. If none is idle, all
/// new ones share a bucket.
const ADDRESSES_MAX: usize = 65_536;

/// The entry for all addresses that the table has no room for.
const OVERFLOW: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// The shortest time between two searches of a full table for idle addresses. A search takes
/// milliseconds.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The values of `--rate` and `--connections-per-address`. A limit that was not given does not
/// apply to loopback peers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitRules {
    pub(crate) rate: f64,
    pub(crate) rate_given: bool,
    pub(crate) connections_per_address: u32,
    pub(crate) connections_given: bool,
}

/// A token bucket: `rate` adds a second, with a burst of [`BURST`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { tokens: BURST, filled_at: now }
    }

    fn refill(&mut self, rate: f64, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * rate).min(BURST);
        self.filled_at = now;
    }

    /// Whole seconds until this many adds are allowed, at least 1.
    fn seconds_left(&self, adds: f64, rate: f64) -> u64 {
        // The conversion saturates, so no rate is too small for it.
        ((adds - self.tokens).max(0.0) / rate).ceil().max(1.0) as u64
    }
}

/// The usage of one address.
struct AddressUsage {
    connections: u32,
    bucket: Bucket,
}

/// Shared by all connections. Each add and each connection takes one short lock.
pub(crate) struct Limits {
    rules: LimitRules,
    addresses: Mutex<Addresses>,
}

impl Limits {
    pub(crate) fn new(rules: LimitRules) -> Arc<Self> {
        Arc::new(Self { rules, addresses: Mutex::default() })
    }

    /// A full bucket for a new connection.
    pub(crate) fn bucket(&self) -> Bucket {
        Bucket::full(Instant::now())
    }

    /// Takes a token for each add from the connection's bucket and from its address's. No batch has
    /// more adds than a full bucket has tokens.
    ///
    /// # Errors
    ///
    /// If either has too few. Nothing was taken from either. The error for several adds has the
    /// index of the first one without a token.
    pub(crate) fn take_adds(
        &self,
        adds: usize,
        connection: &mut Bucket,
        address: IpAddr,
    ) -> Result<(), ApiError> {
        if address.is_loopback() && !self.rules.rate_given {
            return Ok(());
        }
        let (now, rate, wanted) = (Instant::now(), self.rules.rate, adds as f64);
        connection.refill(rate, now);
        let mut addresses = self.addresses();
        let key = self.key(&mut addresses, address);
        let shared = &mut Self::entry(&mut addresses, key).bucket;
        shared.refill(rate, now);
        if connection.tokens < wanted || shared.tokens < wanted {
            let seconds = connection.seconds_left(wanted, rate);
            let error = ApiError::rate_limited(seconds.max(shared.seconds_left(wanted, rate)));
            let allowed = connection.tokens.min(shared.tokens) as usize;
            return Err(if adds > 1 { error.at(allowed) } else { error });
        }
        connection.tokens -= wanted;
        shared.tokens -= wanted;
        Ok(())
    }

    /// Counts a connection of `address` until the slot is dropped.
    ///
    /// # Errors
    ///
    /// If the address already has the most connections that it may have.
    pub(crate) fn connect(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionSlot, ApiError> {
        let mut addresses = self.addresses();
        let key = self.key(&mut addresses, address);
        let entry = Self::entry(&mut addresses, key);
        let free = address.is_loopback() && !self.rules.connections_given;
        if entry.connections >= self.rules.connections_per_address && !free {
            return Err(ApiError::too_many_connections());
        }
        entry.connections += 1;
        Ok(ConnectionSlot { limits: Arc::clone(self), key })
    }

    fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that an address is counted under. If the table is full of busy addresses, all new
    /// ones share [`OVERFLOW`].
    fn key(&self, addresses: &mut Addresses, address: IpAddr) -> IpAddr {
        let key = counted_as(address);
        if addresses.by_key.len() < ADDRESSES_MAX || addresses.by_key.contains_key(&key) {
            return key;
        }
        addresses.sweep(self.rules.rate);
        if addresses.by_key.len() < ADDRESSES_MAX { key } else { OVERFLOW }
    }

    fn entry(addresses: &mut Addresses, key: IpAddr) -> &mut AddressUsage {
        addresses.by_key.entry(key).or_insert_with(|| AddressUsage {
            connections: 0,
            bucket: Bucket::full(Instant::now()),
        })
    }
}

/// The table of addresses.
#[derive(Default)]
struct Addresses {
    by_key: HashMap<IpAddr, AddressUsage>,
    swept_at: Option<Instant>,
}

impl Addresses {
    /// Forgets idle addresses, at most once in [`SWEEP_EVERY`]. O(addresses).
    fn sweep(&mut self, rate: f64) {
        let now = Instant::now();
        if self.swept_at.is_some_and(|at| now.duration_since(at) < SWEEP_EVERY) {
            return;
        }
        self.swept_at = Some(now);
        self.by_key.retain(|_, usage| {
            usage.bucket.refill(rate, now);
            usage.connections > 0 || usage.bucket.tokens < BURST
        });
    }
}

/// One counted connection of an address, until it is dropped.
pub(crate) struct ConnectionSlot {
    limits: Arc<Limits>,
    /// The key that it was counted under. [`Limits::key`] may return another one by now.
    key: IpAddr,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut addresses = self.limits.addresses();
        if let Some(usage) = addresses.by_key.get_mut(&self.key) {
            usage.connections = usage.connections.saturating_sub(1);
        }
    }
}

/// The address that `address` counts as. All addresses of an IPv6 /64 count as one, because a
/// household has a /64 and could use each of its addresses once.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn limits(rate_given: bool) -> Arc<Limits> {
        Limits::new(LimitRules {
            rate: 0.001,
            rate_given,
            connections_per_address: 2,
            connections_given: false,
        })
    }

    #[test]
    fn burst_is_bounded() {
        let limits = limits(false);
        let mut bucket = limits.bucket();
        let taken = (0..2_000).filter(|_| limits.take_adds(1, &mut bucket, FAR).is_ok()).count();
        assert_eq!(taken, 1_000);
    }

    #[test]
    fn batch_takes_a_token_for_each_add_or_none() {
        let limits = limits(false);
        let mut bucket = limits.bucket();
        assert!(limits.take_adds(700, &mut bucket, FAR).is_ok());
        let refused = limits.take_adds(301, &mut bucket, FAR).unwrap_err();
        assert_eq!(refused.index, Some(300));
        assert!(limits.take_adds(300, &mut bucket, FAR).is_ok(), "nothing was taken before");
        let refused = limits.take_adds(1, &mut bucket, FAR).unwrap_err();
        assert_eq!((refused.code, refused.index), (crate::api::code::Code::RateLimited, None));
    }

    #[test]
    fn refusal_says_when_to_retry() {
        let seconds =
            |tokens, rate| Bucket { tokens, filled_at: Instant::now() }.seconds_left(1.0, rate);
        assert_eq!(
            [seconds(0.0, 0.01), seconds(0.5, 0.1), seconds(0.9, 100.0), seconds(1.0, 5.0)],
            [100, 5, 1, 1]
        );
    }

    #[test]
    fn connections_of_one_address_share_a_bucket() {
        let limits = limits(false);
        let taken =
            (0..2_000).filter(|_| limits.take_adds(1, &mut limits.bucket(), FAR).is_ok()).count();
        assert_eq!(taken, 1_000);
    }

    #[test]
    fn loopback_is_free_by_default() {
        let mut bucket = limits(false).bucket();
        assert!((0..50).all(|_| limits(false).take_adds(1, &mut bucket, LOOPBACK).is_ok()));
        let given = limits(true);
        assert_eq!(
            (0..2_000)
                .filter(|_| given.take_adds(1, &mut given.bucket(), LOOPBACK).is_ok())
                .count(),
            1_000
        );
    }

    #[test]
    fn closed_connection_frees_its_slot() {
        let limits = limits(false);
        let (first, _second) =
            (limits.connect(FAR).ok().unwrap(), limits.connect(FAR).ok().unwrap());
        assert!(limits.connect(FAR).is_err());
        drop(first);
        assert!(limits.connect(FAR).is_ok());
        let _many: Vec<_> = (0..9).map(|_| limits.connect(LOOPBACK).ok().unwrap()).collect();
    }

    /// A connection that was counted for the overflow is returned to it, even if the table has room
    /// by then.
    #[test]
    fn full_table_leaks_no_connection() {
        let limits = limits(false);
        let address = |number: u32| IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0b00_0000 + number));
        let fill: Vec<_> = (0..ADDRESSES_MAX as u32)
            .map(|number| limits.connect(address(number)).ok().unwrap())
            .collect();
        let overflow = limits.connect(address(1 << 20)).ok().unwrap();
        drop(fill);
        drop(overflow);
        let usage = &limits.addresses().by_key;
        assert_eq!(usage.values().map(|address| u64::from(address.connections)).sum::<u64>(), 0);
    }

    #[test]
    fn ipv6_household_counts_as_one() {
        let (a, b): (IpAddr, IpAddr) =
            ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        assert_eq!(counted_as(a), counted_as(b));
        assert_eq!(counted_as("::ffff:192.0.2.1".parse().unwrap()), FAR);
    }
}
