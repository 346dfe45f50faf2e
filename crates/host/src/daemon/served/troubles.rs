//! What is wrong with a network's way out, to be shown until it is well again.

use std::collections::VecDeque;

/// Most that are kept; the oldest give way.
const MOST: usize = 8;

/// What a trouble is about. There is at most one sentence about each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::daemon) enum Subject {
    /// The uplink cannot be opened.
    Uplink,
    /// What the gateway says.
    Gateway(gateway::Subject),
}

/// The troubles of one network.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Troubles(VecDeque<(Subject, String)>);

impl Troubles {
    /// Something is wrong; what was known about the same subject is not any more.
    pub(in crate::daemon) fn tell(&mut self, about: Subject, sentence: String) {
        self.well(&about);
        self.0.push_back((about, sentence));
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// Nothing is wrong there any more.
    pub(in crate::daemon) fn well(&mut self, about: &Subject) {
        self.0.retain(|(known, _)| known != about);
    }

    /// There is no gateway any more that could say that all is well.
    pub(in crate::daemon) fn without_gateway(&mut self) {
        self.0.retain(|(known, _)| !matches!(known, Subject::Gateway(_)));
    }

    /// The sentences, the oldest first.
    pub(in crate::daemon) fn sentences(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, sentence)| sentence.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_solved_is_not_shown() {
        let names = || Subject::Gateway(gateway::Subject::Names);
        let address = |guest: &str| Subject::Gateway(gateway::Subject::Address(guest.to_owned()));
        let mut troubles = Troubles::default();
        troubles.tell(Subject::Uplink, "The helper is not there.".to_owned());
        troubles.tell(names(), "No answer.".to_owned());
        troubles.tell(address("web"), "Taken.".to_owned());
        troubles.tell(Subject::Uplink, "The list makes no sense.".to_owned());
        let shown =
            |troubles: &Troubles| troubles.sentences().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(shown(&troubles), ["No answer.", "Taken.", "The list makes no sense."]);
        troubles.well(&Subject::Uplink);
        troubles.well(&address("db"));
        assert_eq!(shown(&troubles), ["No answer.", "Taken."]);
        troubles.tell(Subject::Uplink, "Gone.".to_owned());
        troubles.without_gateway();
        assert_eq!(shown(&troubles), ["Gone."]);
        for guest in 0..2 * MOST {
            troubles.tell(address(&guest.to_string()), guest.to_string());
        }
        assert_eq!(troubles.sentences().count(), MOST);
        assert_eq!(troubles.sentences().last(), Some("15"));
    }
}
