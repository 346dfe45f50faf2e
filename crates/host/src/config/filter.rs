//! Filter expressions, as the configuration and callers of the control interface give them.

use std::sync::Arc;

use bpf::Program;
use bpf::expression::{self, Options};
use engine::PortFilter;
use ipnet::Ipv4Net;
use toml::Spanned;

use super::check::Fault;
use super::file;

/// Compiles an expression for a network with this subnet, whose mask `ip broadcast` needs. An empty expression is no
/// filter.
///
/// # Errors
/// What makes no sense in it, and where.
pub fn compile(
    text: &str,
    subnet: Option<Ipv4Net>,
) -> Result<Option<Arc<Program>>, expression::Error> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let netmask = subnet.map(|net| net.netmask().into());
    let program = expression::compile(text, &Options { netmask, ..Options::default() })?;
    Ok(Some(Arc::new(program)))
}

pub(super) fn check(
    filter: Option<&file::Filter>,
    subnet: Option<Ipv4Net>,
) -> Result<PortFilter, Fault> {
    let compiled = |text: Option<&Spanned<String>>| {
        let Some(text) = text else { return Ok(None) };
        compile(text.get_ref(), subnet).map_err(|error| {
            let mut span = text.span();
            // A text without escapes stands in the file as it is, between its quotes: the place in the expression is
            // one in the file.
            if span.len() == text.get_ref().len() + 2 {
                let place = error.place();
                span = span.start + 1 + place.start..span.start + 1 + place.end;
            }
            Fault { span: Some(span), why: format!("the filter expression is not valid: {error}") }
        })
    };
    let Some(filter) = filter else { return Ok(PortFilter::default()) };
    Ok(PortFilter {
        from_guest: compiled(filter.r#in.as_ref())?,
        to_guest: compiled(filter.out.as_ref())?,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Checked, ConfigError, parse};

    fn read(text: &str) -> Result<Checked, ConfigError> {
        parse(text, Path::new("n.toml"))
    }

    #[test]
    fn filters_are_of_guests_and_anonymous_ports_and_of_declared_ones() {
        let text = "[network.a]\nfilter = { in = \"not port 25\" }\n\
                    [network.a.port.web]\nfilter = { in = \" \", out = 'tcp dst port 80' }\n\
                    [network.a.port.free]\n";
        let checked = read(text).unwrap();
        let network = &checked.networks()[0];
        for spec in [&network.guest, &network.anonymous] {
            let program = spec.filter.from_guest.as_ref().expect("a filter");
            assert_eq!((program.source(), &spec.filter.to_guest), (Some("not port 25"), &None));
        }
        let port = |name: &str| network.ports.iter().find(|port| port.name.as_str() == name);
        let web = &port("web").unwrap().spec.filter;
        assert!(web.from_guest.is_none(), "an empty expression is no filter");
        assert_eq!(web.to_guest.as_ref().and_then(|it| it.source()), Some("tcp dst port 80"));
        assert_eq!(port("free").unwrap().spec.filter, engine::PortFilter::default());
    }

    #[test]
    fn an_error_points_at_a_place_in_the_expression() {
        let error = read("[network.a]\nfilter = { out = \"tcp port 99999\" }\n").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("n.toml:2:28: The filter expression is not valid: "), "{text}");
        assert!(
            text.ends_with(
                "2 | filter = { out = \"tcp port 99999\" }\n    |                            ^^^^^"
            ),
            "{text}"
        );
        // With an escape in it the whole text is shown.
        let error = read("[network.a]\nfilter = { in = \"tcp\\u0020port 99999\" }\n").unwrap_err();
        assert_eq!(error.position(), Some((2, 17)));
        assert!(read("[network.a]\nfilter = { inn = \"tcp\" }\n").is_err());
        assert!(read("[network.a]\nfilter = \"tcp\"\n").is_err());
    }

    /// Only a subnet that is known when the file is read has a broadcast address.
    #[test]
    fn a_broadcast_address_needs_a_subnet() {
        let filter = "filter = { in = \"ip broadcast\" }\n";
        assert!(read(&format!("[network.a]\nsubnet = \"10.20.0.0/20\"\n{filter}")).is_ok());
        assert!(read(&format!("[network.a]\n{filter}")).is_err());
    }
}
