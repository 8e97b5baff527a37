//! A storm: nodes that contend for the shards of one journal, clients, and chaos; then everything is compared.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals_services::Kafka;

use crate::bank::books::Books;
use crate::bank::checks;
use crate::bank::http::Connection;
use crate::bank::orders::OpenAccounts;
use crate::bank::server::{Home, copy};
use crate::board::Board;
use crate::brokers::Brokers;
use crate::chaos::{self, Chaos, Strikes};
use crate::client::{Client, Tally};
use crate::journal::{self, Contents};
use crate::node::{Node, Replica};

/// How many strikes come before the clients open new accounts: views rewrite a whole statement for each movement.
const STRIKES_PER_GENERATION: u64 = 10;
/// How many accounts each client opens at the beginning, so that every shard has some.
const FIRST_GENERATIONS: u64 = 3;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub nodes: usize,
    pub clients: u64,
    pub strikes: Strikes,
}

pub struct Storm {
    home: Home,
    board: Board,
    chaos: Chaos,
    clients: Vec<Client>,
    size: Size,
    began: Instant,
    seed: u64,
}

/// What a storm came to.
#[derive(Debug)]
pub struct Figures {
    seed: u64,
    brokers: usize,
    nodes: usize,
    pub chaos: chaos::Figures,
    pub broker_kills: u64,
    not_opened: u64,
    openings: Vec<Duration>,
    pub tally: Tally,
    accepted: u64,
    refused: u64,
    accounts: usize,
    transfers: usize,
    contents: Contents,
    took: Duration,
}

impl Storm {
    /// Says its seed, which a failing test shows.
    pub fn new(kafka: Kafka, size: Size, seed: u64) -> Self {
        println!("seed {seed}");
        let home = Home::new();
        let nodes = (0..size.nodes).map(|number| Node::new(number, &home, kafka.url())).collect();
        let open = OpenAccounts::default();
        let client = |number| Client::new(number, seed, OpenAccounts::clone(&open), &home.path(""));
        let clients = (0..size.clients).map(client).collect();
        let chaos = Chaos::new(seed, size.strikes, nodes, Brokers::new(kafka), &home);
        Self { board: Board::new(size.nodes), home, chaos, clients, size, began: Instant::now(), seed }
    }

    /// All of it. What was found wrong names the seed, and the journal is kept beside the replicas.
    pub fn run(&mut self) -> Result<Figures, String> {
        let run = self.rage().and_then(|()| self.finish());
        run.map_err(|wrong| {
            self.chaos.note(&self.board, &wrong);
            copy(self.chaos.brokers.kafka.directory(), &self.home.path("brokers"));
            format!("seed {}, {:?} so far: {wrong}", self.seed, self.chaos.figures)
        })
    }

    /// Clients work while chaos strikes; they end with an answer to every command.
    fn rage(&mut self) -> Result<(), String> {
        let Self { home, board, chaos, clients, .. } = self;
        chaos.calm(home, board)?;
        let generation = AtomicU64::new(FIRST_GENERATIONS - 1);
        std::thread::scope(|scope| {
            let (board, generation) = (&*board, &generation);
            let working: Vec<_> = clients
                .iter_mut()
                .map(|client| {
                    scope.spawn(move || {
                        let generation = || generation.load(Ordering::SeqCst);
                        client.work(board, generation).inspect_err(|_| board.give_up())
                    })
                })
                .collect();
            let mut raged = Ok(());
            while raged.is_ok() && chaos.strikes_on() && !board.is_given_up() {
                raged = chaos.step(home, board);
                let chaos::Figures { kills, stops, .. } = chaos.figures;
                let strikes = (kills + stops) / STRIKES_PER_GENERATION;
                generation.store(FIRST_GENERATIONS - 1 + strikes, Ordering::SeqCst);
            }
            let raged = raged.and_then(|()| chaos.calm(home, board)).inspect_err(|_| board.give_up());
            board.close();
            let worked = working.into_iter().map(|client| client.join().unwrap());
            worked.fold(Ok(()), Result::and).and(raged)
        })
    }

    /// Everything is asked again, and compared with what every node and every replica tells.
    fn finish(&mut self) -> Result<Figures, String> {
        self.chaos.note(&self.board, "all is asked again");
        self.board.prefer(0);
        for client in &mut self.clients {
            client.confirm_all(&self.board)?;
        }
        let books = Books::of(self.clients.iter().flat_map(|client| &client.asked))?;
        for node in 0..self.size.nodes {
            self.chaos.note(&self.board, "a node is compared");
            self.compare(node, &books).map_err(|wrong| format!("node {node}: {wrong}"))?;
        }
        self.chaos.note(&self.board, "replicas are compared");
        let contents = self.compare_replicas()?;
        self.chaos.note(&self.board, "done");
        Ok(self.figures(&books, contents))
    }

    fn compare(&self, node: usize, books: &Books) -> Result<(), String> {
        let address = self.board.address(node).ok_or("it does not listen")?;
        let mut connection = Connection::open(&address).map_err(|cut| cut.0)?;
        checks::wait_for_rest(&mut connection)?;
        checks::all(&mut connection, books)
    }

    /// Ends the nodes: their replicas and a fresh one hold the same history.
    fn compare_replicas(&mut self) -> Result<Contents, String> {
        let fresh = Replica::fresh(&self.home, self.chaos.brokers.kafka.url());
        let events = fresh.events()?;
        fresh.verify()?;
        for node in self.chaos.nodes.iter_mut() {
            let (number, errors) = (node.number, node.errors(&self.home));
            let replica = node.end()?;
            if replica.events()? != events {
                return Err(format!("node {number}: its replica does not hold what a fresh one holds"));
            }
            replica.verify()?;
            if errors.contains("panicked") {
                return Err(format!("node {number} panicked: {errors}"));
            }
        }
        journal::check_versions(&events)?;
        Contents::of(&fresh.directory)
    }

    fn figures(&self, books: &Books, contents: Contents) -> Figures {
        let mut tally = Tally::default();
        self.clients.iter().for_each(|client| tally.add(&client.tally));
        let nodes = &self.chaos.nodes;
        Figures {
            seed: self.seed,
            brokers: self.chaos.brokers.kafka.nodes().count(),
            nodes: self.size.nodes,
            chaos: self.chaos.figures,
            broker_kills: self.chaos.brokers.kills,
            not_opened: nodes.iter().map(|node| node.not_opened).sum(),
            openings: nodes.iter().flat_map(|node| node.openings.iter().copied()).collect(),
            tally,
            accepted: books.accepted,
            refused: books.refused,
            accounts: books.accounts.len(),
            transfers: books.transfers.len(),
            contents,
            took: self.began.elapsed(),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chaos::Figures { kills, stops, long_stops, replicas_lost, busy_shards } = self.chaos;
        let Tally { confirmed, unknown, settled, had_effect, unavailable } = self.tally;
        let Contents { claims, records, ignored } = self.contents;
        let mut openings = self.openings.clone();
        openings.sort_unstable();
        let opening = openings.get(openings.len() / 2).map_or(0, Duration::as_millis);
        write!(f, "storm: seed {}, {} brokers, {} processes, ", self.seed, self.brokers, self.nodes)?;
        write!(f, "{} s; {kills} process kills, {stops} stops ({long_stops} longer ", self.took.as_secs())?;
        write!(
            f,
            "than the message timeout), {busy_shards} busy shards whose owner was killed or stopped, "
        )?;
        write!(f, "{} broker kills, {replicas_lost} replicas lost, ", self.broker_kills)?;
        write!(f, "{} openings without brokers; {claims} claims, {records} records, ", self.not_opened)?;
        write!(f, "{ignored} of former owners ignored; {} acknowledged ", self.accepted + self.refused)?;
        write!(f, "({} accepted, {} refused; {} accounts, ", self.accepted, self.refused, self.accounts)?;
        write!(
            f,
            "{} transfers), none lost or doubled; {unknown} unknown, {settled} settled ",
            self.transfers
        )?;
        write!(
            f,
            "({had_effect} had had their effect); {confirmed} times asked again and answered the same, "
        )?;
        write!(f, "{unavailable} put off; opening took {opening} ms (median)")
    }
}
