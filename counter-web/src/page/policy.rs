//! The content security policy: a browser loads only the page's own files for it, and in a demo it
//! connects to the other nodes too.

use warp::http::header::HeaderValue;

use crate::app::App;

/// The content security policy of every response that sets no other.
pub(crate) const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
    frame-ancestors 'none'";

/// The policy of a demo's page, which also connects to the demo's other nodes. None elsewhere.
pub(crate) fn content_policy(app: &App) -> Option<HeaderValue> {
    let mut connect = "connect-src 'self'".to_owned();
    for address in app.pages.get()?.values() {
        let http = address.trim_end_matches('/');
        connect += &format!(" {http} {}", http.replacen("http", "ws", 1));
    }
    HeaderValue::from_str(&CONTENT_POLICY.replace("connect-src 'self'", &connect)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_demo_connects_to_other_nodes() {
        let cluster = format!("policy-{}", std::process::id());
        let node = counter_net::Node::builder()
            .cluster(&cluster)
            .region("ord")
            .discover(counter_net::Discovery::None);
        let app = App::for_tests(node.start().await.unwrap());
        assert!(content_policy(&app).is_none());
        app.set_pages([("fra".to_owned(), "http://127.0.0.1:4001/".to_owned())].into());
        let policy = content_policy(&app).unwrap();
        let policy = policy.to_str().unwrap();
        let connect = "connect-src 'self' http://127.0.0.1:4001 ws://127.0.0.1:4001;";
        assert!(policy.contains(connect), "{policy}");
        assert_eq!(policy.split(';').count(), CONTENT_POLICY.split(';').count());
    }
}
