//! Character classes that several tokenizers need.

use unicode_general_category::{GeneralCategory, get_general_category};

/// `\p{P}`: any of the seven categories of punctuation.
pub fn is_punctuation(c: char) -> bool {
    use GeneralCategory::{ClosePunctuation, ConnectorPunctuation, DashPunctuation, FinalPunctuation};
    use GeneralCategory::{InitialPunctuation, OpenPunctuation, OtherPunctuation};
    matches!(
        get_general_category(c),
        ConnectorPunctuation
            | DashPunctuation
            | OpenPunctuation
            | ClosePunctuation
            | InitialPunctuation
            | FinalPunctuation
            | OtherPunctuation
    )
}
