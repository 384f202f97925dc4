//! Redis on this machine, as Debian packages it. It runs `INCR`, one at a time and many in flight,
//! and the sum is read back at the end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::harness::scratch::ScratchDirectory;
use super::{MeasureFailure, Measured};
use crate::sample::Sample;

/// A running server that keeps nothing on disk. It is killed when dropped.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    scratch: ScratchDirectory,
    address: SocketAddr,
    /// The server's version.
    pub version: String,
}

const HOW_TO_GET: &str = "Redis: skipped; it needs redis-server (Debian's package redis-server)";
const START_MAX: Duration = Duration::from_secs(10);

impl Redis {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// A missing server, with a line that says how to get it; or one that does not answer.
    pub fn start() -> Measured<Self> {
        let version = Command::new("redis-server")
            .arg("--version")
            .output()
            .map_err(|_| MeasureFailure(HOW_TO_GET.into()))?;
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        let version = version
            .split(" v=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .unwrap_or("unknown")
            .to_owned();
        let scratch = ScratchDirectory::new()?;
        // It cannot report a port that it chose itself. This one was free a moment ago.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &address.port().to_string(),
            "--unixsocket",
            "redis.sock",
            "--save",
            "",
        ]);
        command.args(["--appendonly", "no", "--daemonize", "no"]).current_dir(scratch.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let server = Self { child, scratch, address, version };
        let deadline = Instant::now() + START_MAX;
        while server.trip_by_tcp().and_then(|mut trip| trip.value("ready")).is_err() {
            if Instant::now() > deadline {
                return Err(MeasureFailure(
                    "Redis: skipped; it does not answer within 10 s".into(),
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// A client for round trips over TCP.
    ///
    /// # Errors
    /// A server that is gone.
    pub fn trip_by_tcp(&self) -> Measured<Trip<TcpStream>> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        Ok(Trip::new(stream))
    }

    /// A client over a Unix socket, the shortest way.
    ///
    /// # Errors
    /// A server that is gone.
    pub fn trip_by_unix(&self) -> Measured<Trip<UnixStream>> {
        Ok(Trip::new(UnixStream::connect(self.scratch.path().join("redis.sock"))?))
    }

    /// `INCR`s a second over TCP, and the time of each answer.
    ///
    /// # Errors
    /// A connection that breaks, or counters whose values differ from the answers.
    pub async fn rate(&self, load: RedisLoad, time: Duration) -> Measured<(f64, Vec<Duration>)> {
        let RedisLoad { connections, window, keys } = load;
        let keys: Vec<String> = (0..keys).map(|key| format!("rate{window}-{key}")).collect();
        let before = self.sum(&keys)?;
        let (start, until) = (Instant::now(), Instant::now() + time);
        let commands: String =
            keys.iter().cycle().take(window).map(|key| command("INCR", key)).collect();
        let clients: Vec<_> = (0..connections)
            .map(|_| tokio::spawn(incr(self.address, commands.clone(), window, until)))
            .collect();
        let mut answers = Vec::new();
        for client in clients {
            answers.extend(client.await.map_err(|error| MeasureFailure(error.to_string()))??);
        }
        let (taken, adds) = (start.elapsed(), answers.len() * window);
        match self.sum(&keys)? - before {
            held if held == adds as i64 => Ok((adds as f64 / taken.as_secs_f64(), answers)),
            held => Err(MeasureFailure(format!("wrong: {adds} INCRs came to {held}"))),
        }
    }

    /// The sum of these keys, which are made if missing.
    fn sum(&self, keys: &[String]) -> Measured<i64> {
        let mut trip = self.trip_by_tcp()?;
        keys.iter().map(|key| trip.value(key)).sum()
    }
}

/// A load of `INCR`s.
#[derive(Clone, Copy, Debug)]
pub struct RedisLoad {
    /// Connections at once.
    pub connections: usize,
    /// Commands that each has in flight.
    pub window: usize,
    /// The keys that they go to in turn.
    pub keys: usize,
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn command(word: &str, key: &str) -> String {
    format!("*2\r\n${}\r\n{word}\r\n${}\r\n{key}\r\n", word.len(), key.len())
}

/// Sends the commands over and over, and waits for all answers each time. Returns how long each
/// time took.
async fn incr(
    address: SocketAddr,
    commands: String,
    window: usize,
    until: Instant,
) -> Measured<Vec<Duration>> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut answers, mut times) = (Vec::with_capacity(1 << 14), Vec::new());
    while Instant::now() < until {
        let sent = Instant::now();
        stream.write_all(commands.as_bytes()).await?;
        answers.clear();
        let mut lines = 0;
        while lines < window {
            let from = answers.len();
            if stream.read_buf(&mut answers).await? == 0 {
                return Err(MeasureFailure("Redis closed the connection".into()));
            }
            lines += answers[from..].iter().filter(|byte| **byte == b'\n').count();
        }
        times.push(sent.elapsed());
        if answers
            .split(|byte| *byte == b'\n')
            .any(|line| line.first().is_some_and(|kind| *kind != b':'))
        {
            return Err(MeasureFailure(format!(
                "Redis refused an INCR: {}",
                String::from_utf8_lossy(&answers)
            )));
        }
    }
    Ok(times)
}

/// A blocking client with one command in flight.
#[derive(Debug)]
pub struct Trip<S: Read> {
    stream: BufReader<S>,
    line: String,
    expected: i64,
}

impl<S: Read + Write> Trip<S> {
    fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream), line: String::new(), expected: 0 }
    }

    /// `trips` round trips of `INCR`. Right if each answer is one more than the answer before.
    pub fn round(&mut self, key: &str, trips: usize) -> Sample {
        let command = command("INCR", key);
        let start = Instant::now();
        let mut right = true;
        for _ in 0..trips {
            self.expected += 1;
            right &= self.ask(&command).is_ok_and(|answer| answer == self.expected);
        }
        Sample { nanoseconds: start.elapsed().as_nanos() as f64 / trips as f64, right }
    }

    /// The value of a key, which is made if missing.
    fn value(&mut self, key: &str) -> Measured<i64> {
        self.ask(&format!("*3\r\n$6\r\nINCRBY\r\n${}\r\n{key}\r\n$1\r\n0\r\n", key.len()))
    }

    fn ask(&mut self, command: &str) -> Measured<i64> {
        self.stream.get_mut().write_all(command.as_bytes())?;
        self.line.clear();
        self.stream.read_line(&mut self.line)?;
        let number = self.line.strip_prefix(':').and_then(|rest| rest.trim_end().parse().ok());
        number.ok_or_else(|| MeasureFailure(format!("Redis answers {:?}", self.line)))
    }
}
