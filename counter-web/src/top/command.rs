//! The command `top`: samples the nodes every second and draws them, or prints one frame.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::frame;
use super::sample::{NodeSample, Picture};
use crate::cli::TopArgs;
use crate::cli::exit::{CommandError, print};
use crate::operator;

/// The time between two samples. Rates are averages over it.
const INTERVAL: Duration = Duration::from_secs(1);

/// The size of a printed frame. It grows with its content.
const PRINTED_SIZE: (u16, u16) = (80, 24);

/// The most lines of a printed frame.
const PRINTED_LINES_MAX: u16 = 4_096;

/// Draws every second until q, Esc or Ctrl-C, or prints one frame.
///
/// # Errors
///
/// If no node answers, or there is no terminal to draw in.
pub(crate) async fn run(args: TopArgs) -> Result<(), CommandError> {
    let mut last = sample_all(&args.admin).await?;
    if args.once {
        tokio::time::sleep(INTERVAL).await;
        let picture = Picture::of(&last, &sample_all(&args.admin).await?);
        return print(frame_text(&picture)?);
    }
    if !std::io::stdout().is_terminal() {
        return Err(CommandError::argument(
            "top draws in a terminal: write top --once to print one frame",
        ));
    }
    let mut picture = Picture::of(&last, &last);
    let mut terminal = ratatui::try_init().map_err(CommandError::other)?;
    let outcome = loop {
        if let Err(error) = terminal.draw(|target| frame::draw(&picture, target)) {
            break Err(CommandError::other(error));
        }
        match tokio::task::block_in_place(wait) {
            Ok(TopAction::Stop) => break Ok(()),
            Ok(TopAction::Draw) => {}
            Ok(TopAction::Sample) => match sample_all(&args.admin).await {
                Ok(next) => {
                    picture = Picture::of(&last, &next);
                    last = next;
                }
                // Nodes may stop and start again. The last picture stays, marked as out of date.
                Err(failure) => picture.stale(&failure),
            },
            Err(error) => break Err(CommandError::other(error)),
        }
    };
    ratatui::restore();
    outcome
}

/// The next thing to do.
enum TopAction {
    Sample,
    Draw,
    Stop,
}

/// Waits for a key, or until the next sample is due.
fn wait() -> std::io::Result<TopAction> {
    let end = Instant::now() + INTERVAL;
    while event::poll(end.saturating_duration_since(Instant::now()))? {
        match event::read()? {
            Event::Resize(..) => return Ok(TopAction::Draw),
            Event::Key(key) if key.kind == KeyEventKind::Press => {
                let interrupt =
                    key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(TopAction::Stop);
                }
            }
            _ => {}
        }
    }
    Ok(TopAction::Sample)
}

/// Asks every node. Leaves out nodes that do not answer, as long as one does.
async fn sample_all(sockets: &[PathBuf]) -> Result<Vec<NodeSample>, CommandError> {
    let sockets = if sockets.is_empty() { operator::sockets().await? } else { sockets.to_vec() };
    let (mut samples, mut silent) = (Vec::new(), None);
    for socket in sockets {
        match operator::converse(&socket, "status").await {
            Ok(answer) => samples.push(NodeSample::read(&answer)),
            Err(failure) => silent = Some(failure),
        }
    }
    samples.sort_by(|one, other| (&one.region, &one.replica).cmp(&(&other.region, &other.replica)));
    match silent {
        Some(failure) if samples.is_empty() => Err(failure),
        _ => Ok(samples),
    }
}

/// The frame as text, without trailing spaces.
fn frame_text(picture: &Picture) -> Result<String, CommandError> {
    let (width, lines) = PRINTED_SIZE;
    let lines = lines.max(frame::lines(picture)).min(PRINTED_LINES_MAX);
    let mut terminal =
        Terminal::new(TestBackend::new(width, lines)).map_err(CommandError::other)?;
    terminal.draw(|target| frame::draw(picture, target)).map_err(CommandError::other)?;
    let buffer = terminal.backend().buffer();
    let row = |y: u16| {
        (0..width)
            .filter_map(|x| buffer.cell((x, y)))
            .map(ratatui::buffer::Cell::symbol)
            .collect::<String>()
    };
    let rows: Vec<String> = (0..lines).map(|y| row(y).trim_end().to_owned()).collect();
    Ok(rows.join("\n").trim_end().to_owned())
}
