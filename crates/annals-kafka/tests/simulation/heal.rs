//! The end of a run: nothing fails any more, and the world comes to rest.

use crate::dice::Odds;
use crate::world::{Action, Asked, NODES, World};

impl World {
    /// Nothing fails any more: what is on its way arrives, all nodes run, and every command gets its answer.
    pub fn settle(&mut self) {
        self.odds = Odds::default();
        self.figures.under_fire = self.figures.acknowledged;
        for node in 0..NODES {
            self.nodes[node].stopped = false;
            if self.nodes[node].dead {
                self.restart(node);
            }
        }
        (0..14).for_each(|round| self.heal(round % 3 == 2));
        for round in 0..80 {
            if self.quiet || self.all_answered() {
                break;
            }
            self.ask_for_all(round);
            self.heal(round % 10 == 9);
        }
        for at in 0..self.partitions.len() {
            let late = std::mem::take(&mut self.partitions[at].late);
            self.partitions[at].requests.extend(late);
        }
        (0..8).for_each(|round| self.heal(round % 3 == 2));
        for node in &self.nodes {
            self.figures.claims += node.shards.iter().map(|shard| shard.claims_won).sum::<u64>();
            self.figures.halts += node.shards.iter().filter(|shard| shard.halted.is_some()).count() as u64;
        }
    }

    /// Whether every command to a partition that somebody can serve has its answer.
    pub fn all_answered(&self) -> bool {
        let served = |asked: &&Asked| {
            let at = usize::from(asked.command.stream) % self.partitions.len();
            self.nodes.iter().any(|node| node.shards[at].halted.is_none())
        };
        self.asked.iter().filter(served).all(|asked| asked.recorded.is_some())
    }

    /// One node after the other claims each partition, and the owner is asked for everything.
    fn ask_for_all(&mut self, round: u64) {
        for at in 0..self.partitions.len() {
            let sound = |node: &usize| self.nodes[*node].shards[at].halted.is_none();
            let sound: Vec<usize> = (0..NODES).filter(sound).collect();
            let Some(node) = sound.get((round / 10) as usize % sound.len().max(1)).copied() else { continue };
            let shard = &mut self.nodes[node].shards[at];
            // Also where it serves: a report that was lost is waited for without end.
            if round.is_multiple_of(10) {
                shard.advance_claim(true);
                shard.claim(&mut self.dice);
            }
        }
        for index in 0..self.asked.len() {
            let (command, recorded) = (self.asked[index].command, self.asked[index].recorded);
            let at = usize::from(command.stream) % self.partitions.len();
            let serves = |node: &usize| self.nodes[*node].shards[at].serves();
            let owner = (0..NODES).filter(serves).find(|node| self.nodes[*node].shards[at].halted.is_none());
            if recorded.is_none()
                && let Some(node) = owner
            {
                self.submit(node, command);
            }
        }
    }

    /// Everything moves on once.
    fn heal(&mut self, late: bool) {
        for at in 0..self.partitions.len() {
            for node in 0..NODES {
                let Self { dice, partitions, nodes, .. } = self;
                for producer in &mut nodes[node].shards[at].producers {
                    let request = producer.transmit(dice).or_else(|| producer.retry(dice));
                    partitions[at].requests.extend(request);
                }
            }
            while !self.partitions[at].requests.is_empty() {
                self.request(at, Action::Arrive);
            }
            let end = self.partitions[at].broker.len();
            let answers = self.partitions[at].broker.advance(end);
            self.partitions[at].answers.extend(answers);
            while !self.partitions[at].answers.is_empty() {
                self.answer(at, false);
            }
            for node in 0..NODES {
                self.heal_shard(node, at, late);
            }
        }
    }

    fn heal_shard(&mut self, node: usize, at: usize, late: bool) {
        let Self { dice, odds, partitions, nodes, .. } = self;
        let (shard, broker) = (&mut nodes[node].shards[at], &partitions[at].broker);
        let reports: Vec<_> =
            shard.producers.iter_mut().flat_map(|producer| producer.take_reports(odds, dice)).collect();
        shard.delivered(reports);
        for _ in 0..2 {
            shard.fed();
            shard.fetch(broker, usize::MAX);
        }
        shard.watched(late);
        shard.ask(broker);
        self.hear(node, at);
    }
}
