//! Text inside XML and HTML.

use resound_console::escape as terminal;

/// Escapes text for an element or an attribute. Characters that XML cannot hold, or that mislead
/// the eye, are shown escaped.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            '\n' => safe.push('\n'),
            c if c.is_control() || terminal::is_dangerous(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                safe += &format!("\\u{{{:x}}}", c as u32);
            }
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_stays_text() {
        assert_eq!(escape("<script>'&\"</script>"), "&lt;script&gt;&#39;&amp;&quot;&lt;/script&gt;");
        assert_eq!(escape("a\x1b[31m\0\u{202e}b\u{ffff}"), "a\\u{1b}[31m\\u{0}\\u{202e}b\\u{ffff}");
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let xml = format!("<a b=\"{0}\">{0}</a>", escape(&c.to_string()));
            assert!(roxmltree::Document::parse(&xml).is_ok(), "{:x}", c as u32);
        }
    }
}
