//! Measurements of the store, each with its bound: `cargo test --release -p counter-net --lib
//! store::tests -- --ignored --nocapture --test-threads 1 --skip child` prints all of it.

use super::*;

/// Writes the file of a million cells and loads it again. Returns how long the load took.
fn million(what: &str, cell: impl Fn(u64) -> (String, u64)) -> Duration {
    let scratch = Scratch::new();
    let (directory, opened) = open(scratch.path());
    let state = State::new(1, &opened);
    let commits = start(&state, opened);
    for number in 0..1_000_000u64 {
        let (counter, amount) = cell(number);
        add(&state, &counter, amount);
    }
    durable(&commits).unwrap();
    add(&state, "clicks", 1);
    durable(&commits).unwrap();
    drop((commits, directory));
    let began = Instant::now();
    let (directory, opened) = open(scratch.path());
    let (took, file) = (began.elapsed(), fs::metadata(directory.store_path()).unwrap().len());
    println!(
        "{what}: {} cells, {file} bytes of file, loaded in {took:?}, {:?}",
        opened.map.cell_count(),
        opened.weight
    );
    assert_eq!(opened.map.cell_count(), 1_000_001);
    took
}

#[test]
#[ignore = "a measurement: run it in release"]
fn a_million_cells_load_within_two_seconds() {
    let regular =
        million("numbered names", |number| (format!("counter-{number:07}"), number % 1000 + 1));
    let mixed = |number: u64| {
        number
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
    };
    let random = million("random names, random amounts", |number| {
        (format!("{:016x}", mixed(number)), mixed(number + 1) % 1_000_000 + 1)
    });
    assert!(regular.max(random) < Duration::from_secs(2));
}

/// Durable adds a second of `adders` threads within `time`.
fn durable_rate(adders: usize, time: Duration) -> f64 {
    let scratch = Scratch::new();
    let (_directory, opened) = open(scratch.path());
    let state = State::new(1, &opened);
    let commits = start(&state, opened);
    let began = Instant::now();
    let adds: usize = std::thread::scope(|threads| {
        let adder = || {
            (0..)
                .take_while(|_| {
                    add(&state, "clicks", 1);
                    durable(&commits).unwrap();
                    began.elapsed() < time
                })
                .count()
        };
        let adders: Vec<_> = (0..adders).map(|_| threads.spawn(adder)).collect();
        adders.into_iter().map(|adder| adder.join().unwrap()).sum()
    });
    adds as f64 / began.elapsed().as_secs_f64()
}

/// Rows a second that redb itself commits one by one.
fn single_put_rate(time: Duration) -> f64 {
    const ROWS: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new("rows");
    let scratch = Scratch::new();
    let database = redb::Database::create(scratch.path().join("rows")).unwrap();
    let began = Instant::now();
    let rows = (0..)
        .take_while(|row| {
            let write = database.begin_write().unwrap();
            write.open_table(ROWS).unwrap().insert(row, [7; 60].as_slice()).unwrap();
            write.commit().unwrap();
            began.elapsed() < time
        })
        .count();
    rows as f64 / began.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement: run it in release"]
fn one_adder_matches_single_puts_and_64_share_commits() {
    let time = Duration::from_secs(3);
    let (puts, one, many) = (single_put_rate(time), durable_rate(1, time), durable_rate(64, time));
    println!(
        "redb {puts:.0} puts/s; durable adds: 1 adder {one:.0}/s ({:.2} x), 64 adders {many:.0}/s \
         ({:.1} x)",
        one / puts,
        many / puts
    );
    assert!(one >= 0.8 * puts && many >= 10.0 * puts);
}

/// The best of some runs: how long an add takes.
fn nanoseconds_an_add(state: &State) -> f64 {
    const ADDS: u32 = 5_000_000;
    let handle = state.0.lock().unwrap().counter("clicks").unwrap();
    let run = || {
        let began = Instant::now();
        (0..ADDS).for_each(|_| handle.add(1).unwrap());
        began.elapsed().as_nanos() as f64 / f64::from(ADDS)
    };
    (0..7).map(|_| run()).fold(f64::INFINITY, f64::min)
}

#[test]
#[ignore = "a measurement: run it in release"]
fn unawaited_add_is_not_slowed_by_the_disk() {
    let scratch = Scratch::new();
    let (_directory, opened) = open(scratch.path());
    let state = State::new(1, &opened);
    let alone = nanoseconds_an_add(&state);
    let commits = start(&state, opened);
    let over = std::sync::atomic::AtomicBool::new(false);
    let mut rounds = 0u64;
    let beside = std::thread::scope(|threads| {
        threads.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                add(&state, "likes", 1);
                durable(&commits).unwrap();
                rounds += 1;
            }
        });
        let beside = nanoseconds_an_add(&state);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        beside
    });
    println!(
        "an add takes {alone:.2} ns without a store, {beside:.2} ns beside {rounds} commits \
         ({:.2} x)",
        beside / alone
    );
    assert!(beside < 1.5 * alone);
}
