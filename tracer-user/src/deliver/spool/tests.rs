use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use super::*;
use crate::deliver::Signal;

fn document(number: u64) -> Payload {
    Payload {
        signal: [
            Signal::Traces,
            Signal::Metrics,
            Signal::Logs,
            Signal::Zipkin,
        ][number as usize % 4],
        body: format!("{{\"number\":{number},\"fill\":\"{}\"}}", "x".repeat(80)).into(),
        items: number % 7 + 1,
    }
}

fn options(folder: &Path, max_bytes: u64) -> SpoolOptions {
    SpoolOptions {
        folder: folder.join("spool"),
        max_bytes,
    }
}

fn open(folder: &Path, max_bytes: u64) -> (Spool, Recovered) {
    Spool::open(&options(folder, max_bytes)).unwrap()
}

/// Takes everything that is there.
fn drain(spool: &mut Spool) -> Vec<Payload> {
    let mut taken = Vec::new();
    while let Some(payload) = spool.first() {
        spool.taken().unwrap();
        taken.push(payload);
    }
    taken
}

fn tally(numbers: impl IntoIterator<Item = u64>) -> Tally {
    numbers.into_iter().fold(Tally::default(), |sum, number| {
        sum + Tally::one(document(number).items)
    })
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder.join("spool")).unwrap();
    let paths = files.map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "segment"))
        .collect();
    found.sort();
    found
}

#[test]
fn what_goes_in_comes_out_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, recovered) = open(dir.path(), 1 << 20);
    assert_eq!(recovered, Recovered::default());
    assert_eq!(spool.first(), None);
    for number in 0..100 {
        spool.append(&document(number)).unwrap();
    }
    assert_eq!(spool.waiting(), tally(0..100));
    // Looking is not taking.
    assert_eq!(spool.first(), Some(document(0)));
    assert_eq!(spool.first(), Some(document(0)));
    assert_eq!(
        drain(&mut spool),
        (0..100).map(document).collect::<Vec<_>>()
    );
    assert_eq!(spool.waiting(), Tally::default());
    spool.append(&document(100)).unwrap();
    assert_eq!(drain(&mut spool), [document(100)]);
    assert_eq!(spool.take_losses(), (Tally::default(), 0));
}

#[test]
fn another_process_goes_on_where_this_one_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut next = 0;
    let mut expected = VecDeque::new();
    // Without any goodbye each time, and with a little taken each time.
    for round in 0..20 {
        let (mut spool, recovered) = open(dir.path(), 1 << 20);
        assert_eq!(
            recovered.waiting,
            tally(expected.iter().copied()),
            "{round}"
        );
        assert_eq!(recovered.torn, 0);
        for _ in 0..7 {
            spool.append(&document(next)).unwrap();
            expected.push_back(next);
            next += 1;
        }
        for _ in 0..5 {
            assert_eq!(spool.first(), expected.pop_front().map(document));
            spool.taken().unwrap();
        }
        assert_eq!(spool.first(), Some(document(expected[0])), "looked at only");
    }
    let (mut spool, _) = open(dir.path(), 1 << 20);
    let left: Vec<_> = expected.into_iter().map(document).collect();
    assert_eq!(drain(&mut spool), left);
    drop(spool);
    assert_eq!(open(dir.path(), 1 << 20).1, Recovered::default());
    assert_eq!(segments(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn torn_at_every_offset_costs_what_is_behind_the_tear() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(dir.path(), 1 << 20);
    for number in 0..4 {
        spool.append(&document(number)).unwrap();
    }
    drop(spool);
    let [path] = segments(dir.path()).try_into().unwrap();
    let whole = fs::read(&path).unwrap();
    let frame_len = (whole.len() - HEADER) / 4;
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let acked = dir.path().join("spool/acked");
        fs::remove_file(acked).unwrap();
        let (mut spool, recovered) = open(dir.path(), 1 << 20);
        let good = len.saturating_sub(HEADER) / frame_len;
        let border = len == 0 || len >= HEADER && (len - HEADER).is_multiple_of(frame_len);
        assert_eq!(recovered.torn, u64::from(!border), "{len}");
        spool.append(&document(9)).unwrap();
        let want: Vec<_> = (0..good as u64).chain([9]).map(document).collect();
        assert_eq!(drain(&mut spool), want, "{len}");
        drop(spool);
        for path in segments(dir.path()) {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_flipped_bit_is_noticed_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    // Four documents in each segment.
    let max = 8 * 4 * 125;
    for (damaged, at_run_time) in [(1, false), (1, true), (6, false), (6, true)] {
        let (mut spool, _) = open(dir.path(), max);
        let first = spool.next_seq;
        for number in 0..8 {
            spool.append(&document(number)).unwrap();
        }
        let files = segments(dir.path());
        assert!(files.len() >= 2, "{}", files.len());
        let damage = || {
            let holder = files.iter().rev().find(|path| {
                let name = path.file_stem().unwrap().to_str().unwrap();
                name.parse::<u64>().unwrap() <= first + damaged
            });
            let path = holder.unwrap();
            let bytes = fs::read(path).unwrap();
            let wanted = format!("\"number\":{damaged},");
            let at = bytes
                .windows(wanted.len())
                .position(|w| w == wanted.as_bytes());
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(b"!", at.unwrap() as u64).unwrap();
        };
        let (mut spool, torn) = if at_run_time {
            damage();
            (spool, 0)
        } else {
            drop(spool);
            damage();
            let (spool, recovered) = open(dir.path(), max);
            (spool, recovered.torn)
        };
        let got = drain(&mut spool);
        let torn = torn + spool.take_losses().1;
        // In the last segment nobody knows how many followed, if the process is another.
        let all = got.len() as u64 + torn;
        assert!(
            all == 8 || !at_run_time && damaged == 6 && all >= 7,
            "{damaged}: {all}"
        );
        assert!(!got.contains(&document(damaged)));
        assert!(got.starts_with(&(0..damaged).map(document).collect::<Vec<_>>()));
    }
}

#[test]
fn when_full_the_oldest_go_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(dir.path(), 4000);
    let mut dropped = Tally::default();
    for number in 0..200 {
        spool.append(&document(number)).unwrap();
        dropped += spool.take_losses().0;
        assert!(spool.bytes() <= 4000);
        let on_disk: u64 = segments(dir.path())
            .iter()
            .map(|path| path.metadata().unwrap().len())
            .sum();
        assert_eq!(on_disk, spool.bytes());
    }
    let left = drain(&mut spool);
    let oldest = 200 - left.len() as u64;
    assert!(left.len() > 15, "{}", left.len());
    assert_eq!(left, (oldest..200).map(document).collect::<Vec<_>>());
    assert_eq!(dropped, tally(0..oldest));
}

#[test]
fn the_one_that_is_being_sent_is_not_counted_as_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(dir.path(), 2000);
    spool.append(&document(0)).unwrap();
    assert_eq!(spool.first(), Some(document(0)));
    let mut dropped = Tally::default();
    for number in 1..100 {
        spool.append(&document(number)).unwrap();
        dropped += spool.take_losses().0;
    }
    assert!(!spool.holds_first());
    spool.taken().unwrap();
    let left = drain(&mut spool);
    let oldest = 100 - left.len() as u64;
    assert_eq!(left, (oldest..100).map(document).collect::<Vec<_>>());
    assert_eq!(dropped, tally(1..oldest));
}

#[test]
fn what_is_taken_makes_room_before_anything_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(dir.path(), 2000);
    for number in 0..500 {
        spool.append(&document(number)).unwrap();
        assert_eq!(spool.first(), Some(document(number)));
        spool.taken().unwrap();
    }
    assert_eq!(spool.take_losses(), (Tally::default(), 0));
    let large = Payload {
        body: vec![b'x'; 2000].into(),
        ..document(0)
    };
    assert!(matches!(spool.append(&large), Err(AppendError::TooLarge)));
}

#[test]
fn a_lost_position_means_again_not_never() {
    let dir = tempfile::tempdir().unwrap();
    for damage in [
        &b""[..],
        b"\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        b"garbage of some length",
    ] {
        let (mut spool, _) = open(dir.path(), 1 << 20);
        for number in 0..4 {
            spool.append(&document(number)).unwrap();
        }
        for _ in 0..2 {
            spool.first();
            spool.taken().unwrap();
        }
        drop(spool);
        fs::write(dir.path().join("spool/acked"), damage).unwrap();
        let (mut spool, recovered) = open(dir.path(), 1 << 20);
        assert_eq!(recovered.waiting, tally(0..4));
        assert_eq!(drain(&mut spool).len(), 4);
    }
}

#[test]
fn only_its_owner_may_use_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(dir.path(), 1 << 20);
    spool.append(&document(0)).unwrap();
    for entry in fs::read_dir(dir.path().join("spool")).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
    }
    let folder = dir.path().join("spool");
    assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
    let again = Spool::open(&options(dir.path(), 1)).unwrap_err();
    assert!(matches!(again, SpoolError::InUse { .. }), "{again}");
    drop(spool);
    for (mode, good) in [
        (0o755, false),
        (0o770, false),
        (0o701, false),
        (0o700, true),
    ] {
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        let got = Spool::open(&options(dir.path(), 1 << 20));
        assert_eq!(got.is_ok(), good, "{mode:o}");
        if let Err(error) = got {
            assert!(error.to_string().contains("chmod 700"), "{error}");
        }
    }
    let link = dir.path().join("link");
    symlink(&folder, &link).unwrap();
    for path in [link, folder.join("lock"), dir.path().join("none/deeper")] {
        let options = SpoolOptions {
            folder: path,
            max_bytes: 1000,
        };
        assert!(Spool::open(&options).is_err());
    }
}

#[test]
fn foreign_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), 1000));
    let folder = dir.path().join("spool");
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    fs::create_dir(folder.join("00000000000000000007.segment")).unwrap();
    fs::write(folder.join("00000000000000000003.segment"), "not ours").unwrap();
    let (_, recovered) = open(dir.path(), 1000);
    assert_eq!((recovered.waiting, recovered.torn), (Tally::default(), 1));
    assert_eq!(fs::read(folder.join("notes.txt")).unwrap(), b"mine");
}

#[test]
fn a_failing_write_leaves_the_rest_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(dir.path(), 1 << 20);
    spool.append(&document(0)).unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    spool.active = Some(full.unwrap());
    assert!(matches!(
        spool.append(&document(1)),
        Err(AppendError::Io(_))
    ));
    assert_eq!(spool.first(), Some(document(0)));
    // That file cannot be cut back to its good part, so the next document begins a new one.
    spool.append(&document(1)).unwrap();
    assert_eq!(drain(&mut spool), [document(0), document(1)]);
    drop(spool);
    assert_eq!(open(dir.path(), 1 << 20).1, Recovered::default());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Appends, takes and restarts in any order: nothing comes twice, out of order or is missing.
    #[test]
    fn a_queue_with_a_disk(steps in proptest::collection::vec(0..10_u8, 1..120)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(dir.path(), 3000);
        let (mut next, mut taken) = (0, Vec::new());
        let mut dropped = Tally::default();
        for step in steps {
            match step {
                0..5 => {
                    spool.append(&document(next)).unwrap();
                    next += 1;
                }
                5..9 => if let Some(payload) = spool.first() {
                    spool.taken().unwrap();
                    taken.push(payload);
                },
                _ => {
                    drop(spool);
                    let (opened, recovered) = open(dir.path(), 3000);
                    spool = opened;
                    proptest::prop_assert_eq!(recovered.torn, 0);
                }
            }
            dropped += spool.take_losses().0;
        }
        taken.extend(drain(&mut spool));
        let all = taken.iter().fold(dropped, |sum, payload| sum + Tally::one(payload.items));
        proptest::prop_assert_eq!(all, tally(0..next));
        let mut from = 0;
        for payload in taken {
            let at = (from..next).find(|number| document(*number) == payload);
            from = at.expect("in order, once") + 1;
        }
    }
}
