//! The methods of a node that concern its cluster.

use std::time::Duration;

use counter_core::ReplicaId;

use super::durable::Durable;
use super::incarnations::Incarnation;
use super::stable::StableTotal;
use super::token::Token;
use super::waiting::{NotReached, Replicated};
use crate::node::{Member, Node};
use crate::protocol::{Agreement, Copies, NotReady, RetireError};

impl Node {
    /// Returns true once this node has caught up with the cluster. Never becomes false again.
    pub fn is_synced(&self) -> bool {
        self.shared().read().replicator.is_synced()
    }

    /// Returns true if this node may serve; see [`Node::readiness`].
    pub fn is_ready(&self) -> bool {
        self.readiness().is_ok()
    }

    /// Returns `Ok` if this node may serve: it is synced, or
    /// [`NodeBuilder::ready_within`](crate::NodeBuilder::ready_within) has passed.
    ///
    /// # Errors
    ///
    /// [`NotReady`] if the node is still catching up, every peer that was found has another cluster
    /// key, or a bound of the state refuses what peers hold.
    pub fn readiness(&self) -> Result<(), NotReady> {
        self.shared().read().replicator.readiness()
    }

    /// Waits until this node may serve, or has stopped. Cancel safe.
    pub async fn ready(&self) {
        let mut readiness = self.shared().readiness.subscribe();
        let mut stopped = self.shared().stopped.subscribe();
        tokio::select! {
            _ = readiness.wait_for(Result::is_ok) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    /// Waits until this node has caught up with a synced peer, or knows that it is alone.
    ///
    /// Resolves at once without discovery and peers. While named peers do not answer it keeps
    /// waiting; [`Node::ready`] bounds that wait. Resolves when the node stops. Cancel safe.
    pub async fn synced(&self) {
        let mut synced = self.shared().synced.subscribe();
        let mut stopped = self.shared().stopped.subscribe();
        tokio::select! {
            _ = synced.wait_for(|synced| *synced) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    /// Reports how far the live members have confirmed this node's state.
    ///
    /// While the state changes, members confirm it about twice a second. Within two seconds every
    /// change is known to be everywhere, or [`Agreement::late`] names the members that have not
    /// confirmed. The call sends nothing.
    ///
    /// # Complexity
    ///
    /// O(members + writers) under a short exclusive lock.
    pub fn agreement(&self) -> Agreement {
        let now = self.shared().now();
        let mut guard = self.shared().write();
        let state = &mut *guard;
        state.replicator.agreement(&state.replica, now)
    }

    /// Resolves once every reset, removal and batch before the call is on this node's disk, or at
    /// once without a data directory. For adds through a handle await
    /// [`Counter::durable`](crate::Counter::durable).
    ///
    /// # Errors
    ///
    /// The future fails with [`NotDurable::Store`](crate::NotDurable::Store) if the commit failed;
    /// the node retries it. It fails with [`NotDurable::Stopped`](crate::NotDurable::Stopped) if
    /// the node stopped first. The changes count in any case.
    pub fn durable(&self) -> Durable {
        self.shared().durable()
    }

    /// Returns true if the node has a data directory, so that
    /// [`Counter::durable`](crate::Counter::durable) waits for a disk.
    pub fn is_durable(&self) -> bool {
        self.shared().commits.get().is_some()
    }

    /// Resolves once `copies` replicas hold everything added to this node before the call; see
    /// [`Counter::add_replicated`](crate::Counter::add_replicated).
    ///
    /// # Errors
    ///
    /// The future fails with [`NotReplicated::Few`](crate::NotReplicated::Few) after `within`, with
    /// [`NotReplicated::Busy`](crate::NotReplicated::Busy) if too many waits are open, and with
    /// [`NotReplicated::Stopped`](crate::NotReplicated::Stopped) if the node stopped first. The
    /// adds count in any case.
    pub fn replicated(&self, copies: Copies, within: Duration) -> Replicated {
        self.shared().replicated(copies, within)
    }

    /// Returns a token for this node's present state of all counters, its own adds included. A node
    /// that holds the token shows no less.
    ///
    /// Flushes pending adds first, which gives them a version.
    ///
    /// # Complexity
    ///
    /// Linear in the known replicas and the pending adds, under a short exclusive lock.
    /// [`Counter::token`](crate::Counter::token) is smaller.
    pub fn token(&self) -> Token {
        self.shared().token(None)
    }

    /// Returns a token for this node's present state of the counter `name`; see
    /// [`Counter::token`](crate::Counter::token). Never creates the counter.
    ///
    /// # Complexity
    ///
    /// As for [`Counter::token`](crate::Counter::token).
    pub fn token_of(&self, name: &str) -> Token {
        self.shared().token(Some(name))
    }

    /// Returns true if this node holds everything that the token has seen. Never waits.
    ///
    /// # Complexity
    ///
    /// A short shared lock, and a look-up for each writer that the token names.
    pub fn holds(&self, token: &Token) -> bool {
        self.shared().holds(token)
    }

    /// Waits until this node holds everything that the token has seen.
    ///
    /// Meanwhile the node asks its peers for it. Read [`Node::view`] or a counter's total
    /// afterwards. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`NotReached::Behind`] after `within`: read the older state and say so, or send the client
    /// to another node. [`NotReached::Busy`] at once if too many waits are open.
    /// [`NotReached::Stopped`] if the node stopped first.
    pub async fn reach(&self, token: &Token, within: Duration) -> Result<(), NotReached> {
        self.shared().reach(token, within).await
    }

    /// Returns the total of the counter `name` that every enrolled replica holds; see
    /// [`Counter::stable_total`](crate::Counter::stable_total). Never creates the counter.
    ///
    /// # Complexity
    ///
    /// As for [`Counter::stable_total`](crate::Counter::stable_total).
    pub fn stable_total(&self, name: &str) -> Option<StableTotal> {
        self.shared().stable_total(name)
    }

    /// Lists the nodes of the cluster that this node knows, itself included, ordered by replica.
    ///
    /// A node that left or fell silent is listed for about 90 s more. [`Node::incarnations`] also
    /// lists those that are absent for longer.
    ///
    /// # Complexity
    ///
    /// O(members × replicas) at most, under a shared lock.
    pub fn members(&self) -> Vec<Member> {
        self.shared().members()
    }

    /// Lists every incarnation whose counts this node holds, ordered by replica.
    ///
    /// These are the enrolled ones, and those that ended and are not forgotten yet.
    ///
    /// # Complexity
    ///
    /// O(replicas log replicas).
    pub fn incarnations(&self) -> Vec<Incarnation> {
        self.shared().incarnations()
    }

    /// Declares an incarnation lost for good, and takes over its counts.
    ///
    /// Once every enrolled replica knows, the incarnation is forgotten everywhere. Use this for
    /// nodes that will not come back: one without a data directory that crashed, or one that lost
    /// its disk. A node that restarts from its data directory takes over its earlier incarnations
    /// itself. Adds that no member holds, such as those on a lost disk, are lost once the
    /// incarnation is forgotten.
    ///
    /// If this node is lost at once, the retirement is lost with it. Wait for
    /// [`durable`](Self::durable) or [`replicated`](Self::replicated) to be sure.
    ///
    /// # Errors
    ///
    /// If the incarnation is unknown here, is this node's own, is live, was heard of in the last
    /// ten minutes, or has ended already. Nothing changed.
    ///
    /// # Complexity
    ///
    /// Linear in the replicas, under a short exclusive lock. The counts are taken over in the
    /// background.
    pub fn retire(&self, ended: ReplicaId) -> Result<(), RetireError> {
        self.shared().retire(ended, false)
    }

    /// Retires an incarnation like [`retire`](Self::retire), even if it was heard of recently. Adds
    /// of it that no other node holds are lost.
    ///
    /// # Errors
    ///
    /// If the incarnation is unknown here, is this node's own, is live, or has ended already.
    /// Nothing changed.
    ///
    /// # Complexity
    ///
    /// As for [`retire`](Self::retire).
    pub fn force_retire(&self, ended: ReplicaId) -> Result<(), RetireError> {
        self.shared().retire(ended, true)
    }
}
