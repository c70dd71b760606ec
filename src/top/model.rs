//! [`TopModel`]: what is shown, from what the feed tells and the keys ask for. It has no clock: the
//! time is what its caller says.

use std::collections::VecDeque;
use std::time::Duration;

use super::columns::TopColumn;
use super::document::{LiveNews, TopList, TopRates, TopRow};
use super::figures;
use super::input::TopKey;

/// Seconds of which the rates are kept.
const KEPT: usize = 120;
/// Connections that are asked for; with a filter as many as the server lists.
const LISTED: usize = 250;
const FILTERED: usize = 1000;
/// Characters of a filter.
const MOST_FILTER: usize = 60;
/// How long a note stays.
const NOTED: Duration = Duration::from_secs(8);
/// A reported start that is later by more than this, in seconds, is a new start.
const ANEW: f64 = 0.5;
/// Events come once a second: after this time without one it is said.
const SILENT: Duration = Duration::from_secs(3);

/// What the feed tells.
#[derive(Debug)]
pub(super) enum FeedNews {
    Live(Box<LiveNews>),
    List(TopList),
    /// There is no list now, and why.
    NoList(String),
    /// The server has gone, and why.
    Lost(String),
}

/// Which list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListWanted {
    pub(super) sort: &'static str,
    pub(super) limit: usize,
    pub(super) is_paused: bool,
}

/// What a key has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopAction {
    Draw,
    Redraw,
    /// The program goes on after a stop.
    Resume,
    Suspend,
    Quit,
}

#[derive(Debug)]
struct LostServer {
    why: String,
    since: Duration,
}

/// What is shown.
#[derive(Debug)]
pub(super) struct TopModel {
    pub(super) address: String,
    pub(super) live: Option<Box<LiveNews>>,
    pub(super) history: VecDeque<TopRates>,
    pub(super) list: TopList,
    pub(super) sort: TopColumn,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
    /// Connections above the window.
    pub(super) scrolled: usize,
    /// Connections in the window, as last drawn.
    pub(super) page: usize,
    lost: Option<LostServer>,
    no_list: Option<String>,
    note: Option<(String, Duration)>,
    heard: Duration,
    now: Duration,
}

impl TopModel {
    pub(super) fn new(address: String, sort: TopColumn) -> Self {
        Self {
            address,
            live: None,
            history: VecDeque::new(),
            list: TopList::default(),
            sort,
            is_reversed: false,
            filter: String::new(),
            is_typing: false,
            is_paused: false,
            shows_help: false,
            scrolled: 0,
            page: 1,
            lost: None,
            no_list: None,
            note: None,
            heard: Duration::ZERO,
            now: Duration::ZERO,
        }
    }

    pub(super) fn wanted(&self) -> ListWanted {
        let limit = if self.filter.is_empty() { LISTED } else { FILTERED };
        ListWanted { sort: self.sort.server_sort(), limit, is_paused: self.is_paused }
    }

    /// The time goes on.
    pub(super) fn tick(&mut self, now: Duration) {
        self.now = now;
        self.note.take_if(|(_, until)| *until <= now);
    }

    pub(super) fn take(&mut self, news: FeedNews) {
        match news {
            FeedNews::Live(live) => self.take_live(live),
            FeedNews::List(list) => {
                self.no_list = None;
                if !self.is_paused {
                    self.list = list;
                }
            }
            FeedNews::NoList(why) => self.no_list = Some(why),
            FeedNews::Lost(why) => {
                let since = self.lost.take().map_or(self.now, |lost| lost.since);
                self.lost = Some(LostServer { why, since });
            }
        }
    }

    fn take_live(&mut self, live: Box<LiveNews>) {
        self.heard = self.now;
        if let Some(lost) = self.lost.take() {
            let gap = figures::time((self.now.saturating_sub(lost.since)).as_secs_f64().ceil());
            let before = self.live.as_ref().and_then(|before| before.started);
            let is_new = before.zip(live.started).is_some_and(|(before, now)| now - before > ANEW);
            let what = if is_new { "The program has restarted" } else { "Connected again" };
            self.note = Some((format!("{what}, after {gap} without an answer"), self.now + NOTED));
        }
        if self.is_paused {
            return;
        }
        if self.history.len() == KEPT {
            self.history.pop_front();
        }
        self.history.push_back(live.rates);
        self.live = Some(live);
    }

    /// What is wrong, in a sentence.
    pub(super) fn trouble(&self) -> Option<String> {
        if let Some(LostServer { why, since }) = &self.lost {
            let age = figures::time(self.now.saturating_sub(*since).as_secs_f64().floor());
            return Some(format!("No answer for {age}: {why}. Trying again"));
        }
        let silence = self.now.saturating_sub(self.heard);
        if silence >= SILENT {
            return Some(format!("Nothing new for {}", figures::time(silence.as_secs_f64())));
        }
        self.no_list.as_ref().map(|why| format!("No list of connections: {why}"))
    }

    pub(super) fn note(&self) -> Option<&str> {
        self.note.as_ref().map(|(note, _)| &**note)
    }

    /// The connections as they stand in the table.
    pub(super) fn rows(&self) -> Vec<&TopRow> {
        let filter = self.filter.to_lowercase();
        let is_meant = |row: &&TopRow| [&row.peer, &row.local].iter().any(|text| text.to_lowercase().contains(&filter));
        let mut rows: Vec<_> = self.list.connections.iter().filter(is_meant).collect();
        rows.sort_by(|one, other| self.sort.order(one, other, self.is_reversed));
        rows
    }

    pub(super) fn press(&mut self, key: TopKey) -> TopAction {
        match key {
            TopKey::Interrupt | TopKey::Gone => return TopAction::Quit,
            TopKey::Suspend => return TopAction::Suspend,
            TopKey::Redraw => return TopAction::Redraw,
            _ if self.is_typing => self.type_filter(key),
            TopKey::Escape | TopKey::Char('q' | '?') if self.shows_help => self.shows_help = false,
            TopKey::Escape | TopKey::Char('q' | 'Q') => return TopAction::Quit,
            TopKey::Char('?') => self.shows_help = true,
            TopKey::Char('/') => self.is_typing = true,
            TopKey::Char('p' | ' ') => self.is_paused ^= true,
            TopKey::Char('r') => self.is_reversed ^= true,
            TopKey::Left => self.choose(self.sort.beside(false)),
            TopKey::Right => self.choose(self.sort.beside(true)),
            TopKey::Char(letter) => {
                if let Some(column) = TopColumn::by_letter(letter) {
                    self.choose(column);
                }
            }
            TopKey::Up => self.scroll(self.scrolled.saturating_sub(1)),
            TopKey::Down => self.scroll(self.scrolled + 1),
            TopKey::PageUp => self.scroll(self.scrolled.saturating_sub(self.page.max(1))),
            TopKey::PageDown => self.scroll(self.scrolled + self.page.max(1)),
            TopKey::Home => self.scroll(0),
            TopKey::End => self.scroll(usize::MAX),
            TopKey::Enter | TopKey::Backspace => {}
        }
        TopAction::Draw
    }

    fn type_filter(&mut self, key: TopKey) {
        match key {
            TopKey::Char(c) if self.filter.chars().count() < MOST_FILTER && !c.is_control() => self.filter.push(c),
            TopKey::Backspace => drop(self.filter.pop()),
            TopKey::Enter => self.is_typing = false,
            TopKey::Escape => {
                self.is_typing = false;
                self.filter.clear();
            }
            _ => {}
        }
        self.scrolled = 0;
    }

    fn choose(&mut self, column: TopColumn) {
        if column != self.sort {
            (self.sort, self.is_reversed, self.scrolled) = (column, false, 0);
        }
    }

    /// The window stays within the list.
    pub(super) fn scroll(&mut self, to: usize) {
        self.scrolled = to.min(self.rows().len().saturating_sub(self.page));
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn model(sort: TopColumn) -> TopModel {
        let mut model = TopModel::new("127.0.0.1:9464".into(), sort);
        model.take(FeedNews::Live(Box::new(LiveNews::parse(samples::live().as_bytes()).unwrap())));
        model.take(FeedNews::List(TopList::parse(samples::list(12).as_bytes()).unwrap()));
        model
    }

    fn order(model: &TopModel) -> Vec<u64> {
        model.rows().iter().map(|row| row.conn).collect()
    }

    #[test]
    fn rows_are_sorted_by_any_column_and_what_is_missing_is_last() {
        let mut shown = model(TopColumn::In);
        assert_eq!(order(&shown)[..3], [11, 10, 9]);
        for (letter, first, last) in [
            ('o', vec![4, 9, 3], 10),
            ('t', vec![10, 9, 8], 11),
            ('x', vec![2, 5, 8], 11),
            ('m', vec![11, 10, 9], 0),
            ('c', vec![0, 1, 2], 11),
            ('w', vec![0, 3, 6], 11),
            ('y', vec![1, 3, 5], 10),
            ('a', vec![0, 1, 2], 11),
        ] {
            assert_eq!(shown.press(TopKey::Char(letter)), TopAction::Draw);
            let order = order(&shown);
            assert_eq!((&order[..3], order.last()), (&first[..], Some(&last)), "{letter}");
        }
        shown.press(TopKey::Char('t'));
        shown.press(TopKey::Char('r'));
        assert_eq!(order(&shown), [0, 1, 2, 4, 5, 6, 8, 9, 10, 3, 7, 11]);
        for column in TopColumn::ALL {
            assert_eq!(column.beside(true).beside(false), column);
            assert_eq!(TopColumn::by_letter(column.words().0), Some(column));
            assert!(!"rpq/?".contains(column.words().0), "{column:?}");
        }
    }

    #[test]
    fn a_filter_and_the_window_stay_within_the_list() {
        let mut shown = model(TopColumn::Conn);
        shown.page = 5;
        shown.press(TopKey::End);
        assert_eq!(shown.scrolled, 7);
        assert_eq!(shown.wanted().limit, LISTED);
        "/:4001q".chars().for_each(|c| assert_eq!(shown.press(TopKey::Char(c)), TopAction::Draw));
        shown.press(TopKey::Backspace);
        assert_eq!((order(&shown), shown.scrolled, shown.wanted().limit), (vec![10, 11], 0, FILTERED));
        shown.press(TopKey::Enter);
        shown.press(TopKey::PageDown);
        assert_eq!((shown.scrolled, shown.filter.as_str()), (0, ":4001"));
        shown.press(TopKey::Char('/'));
        shown.press(TopKey::Escape);
        assert_eq!((order(&shown).len(), shown.is_typing), (12, false));
        shown.press(TopKey::Char('?'));
        assert_eq!(shown.press(TopKey::Escape), TopAction::Draw);
        assert_eq!(shown.press(TopKey::Escape), TopAction::Quit);
        shown.press(TopKey::Char('/'));
        assert_eq!(shown.press(TopKey::Interrupt), TopAction::Quit);
    }

    #[test]
    fn a_pause_keeps_the_figures() {
        let mut shown = model(TopColumn::In);
        shown.press(TopKey::Char('p'));
        assert!(shown.wanted().is_paused);
        shown.take(FeedNews::List(TopList::default()));
        let other = samples::live().replace("\"open\":24", "\"open\":25");
        shown.take(FeedNews::Live(Box::new(LiveNews::parse(other.as_bytes()).unwrap())));
        assert_eq!((shown.rows().len(), shown.live.as_ref().unwrap().rates.open), (12, 24));
    }

    #[test]
    fn a_server_that_goes_and_comes_again_is_told_of() {
        let mut shown = model(TopColumn::In);
        assert_eq!((shown.trouble(), shown.note()), (None, None));
        let seconds = Duration::from_secs;
        shown.tick(seconds(4));
        assert_eq!(shown.trouble().unwrap(), "Nothing new for 4.0s");
        shown.take(FeedNews::Lost("eof: it ended the connection".into()));
        shown.tick(seconds(9));
        shown.take(FeedNews::Lost("refused: nothing listens on it".into()));
        assert_eq!(shown.trouble().unwrap(), "No answer for 5.0s: refused: nothing listens on it. Trying again");
        let again = |uptime: &str| {
            let json = samples::live().replace("754.2", uptime);
            FeedNews::Live(Box::new(LiveNews::parse(json.as_bytes()).unwrap()))
        };
        shown.take(again("2"));
        assert_eq!(shown.trouble(), None);
        assert_eq!(shown.note(), Some("The program has restarted, after 5.0s without an answer"));
        shown.tick(seconds(17));
        assert_eq!(shown.note(), None);
        shown.take(FeedNews::Lost("reset".into()));
        shown.take(again("2"));
        assert!(shown.note().unwrap().starts_with("Connected again"));
        for _ in 0..1000 {
            shown.take(again("12"));
        }
        assert_eq!(shown.history.len(), KEPT);
    }
}
