"""The plain Python twin of `fitted_flow.run_fitted` without seats: lists, tuples and the reference book."""

import math

from difffinance.market.flow_state import (
    GAP_SIGN,
    INTRADAY,
    LEAN,
    MEMORIES,
    PULL,
    SESSION,
    VALUE_SD,
)
from difffinance.market.matching import CANCEL, LIMIT, MARKET
from difffinance.market.reference import ReferenceBook

ADD, LEAVE, TAKE, EXPIRE, SPONTANEOUS = range(5)
PARTIAL = 3


def bucket(edges, value):
    return sum(value >= edge for edge in edges)


class Agenda:
    """A binary heap by time alone; which of equal times comes first is part of the process."""

    def __init__(self):
        self.items = []

    def push(self, *item):
        items, k = self.items, len(self.items)
        items.append(item)
        while k and items[(k - 1) // 2][0] > item[0]:
            items[k] = items[(k - 1) // 2]
            k = (k - 1) // 2
        items[k] = item

    def pop(self):
        items, first, k = self.items, self.items[0], 0
        last = items.pop()
        while 2 * k + 1 < len(items):
            below = 2 * k + 1
            if below + 1 < len(items) and items[below + 1][0] < items[below][0]:
                below += 1
            if last[0] <= items[below][0]:
                break
            items[k] = items[below]
            k = below
        if items:
            items[k] = last
        return first


class FittedTwin:
    """Runs from time 0 on a book of its own and writes (ts, kind, side, id, price, quantity, done) down."""

    def __init__(self, tables, p, start, rng):
        self.t, self.p, self.rng, self.book = tables, p, rng, ReferenceBook(low=1)
        self.now, self.value, self.means, self.agenda = 0.0, math.log(start), [0.0] * MEMORIES, Agenda()
        self.bid, self.ask, self.mid = math.ceil(start) - 1, math.floor(start) + 1, float(start)
        self.live, self.born, self.events, self.count = [], {}, [], 0
        self.agenda.push(0.0, SPONTANEOUS, 0, 0, -1, 0, 0)

    def run(self, until):
        while self.agenda.items[0][0] <= until:
            time, kind, side, near, order, price, size = self.agenda.pop()
            self.move_to(time)
            if kind == SPONTANEOUS:
                kind, side = self.spontaneous()
                order, near = -1, 0
            if kind <= TAKE and self.rng.random() >= self.ease(kind, side):
                continue
            if kind == ADD:
                self.add(side, near, price, size)
            elif kind == LEAVE:
                self.leave(self.toward(side, -1))
            elif kind == TAKE:
                self.take(side)
            elif kind == EXPIRE and order in self.book.orders:
                self.remove(order)
        self.move_to(until)

    def move_to(self, time):
        if time > self.now:
            self.value += self.p[VALUE_SD] * math.sqrt(time - self.now) * self.rng.standard_normal()
            self.now = time

    def spontaneous(self):
        base, depth = self.t["base"], self.p[INTRADAY]
        most = 1.0 + 2.0 * max(depth, 0.0)
        self.agenda.push(self.now + self.rng.exponential() / (sum(base) * most), SPONTANEOUS, 0, 0, -1, 0, 0)
        x = min(max(self.now / self.p[SESSION], 0.0), 1.0)
        if self.rng.random() * most > 1.0 + depth * (12.0 * (x - 0.5) ** 2 - 1.0):
            return SPONTANEOUS, 0
        draw = self.rng.random() * sum(base)
        kind = ADD if draw < base[0] else LEAVE if draw < base[0] + base[1] else TAKE
        side = 1 if self.rng.random() < 0.5 + 0.5 * self.p[LEAN] * self.pull() else -1
        return kind, side if kind == ADD else -side

    def pull(self):
        return math.tanh((self.value - math.log(self.mid)) / self.p[PULL])

    def toward(self, side, sense):
        pulled = self.pull()
        if self.rng.random() < self.t["follow"][0] * abs(pulled):
            return sense if pulled > 0 else -sense
        return side

    def ease(self, kind, side):
        if kind == ADD:
            return self.t["add_factor"][bucket(self.t["spread_edges"], self.ask - self.bid)]
        if kind == LEAVE:
            return 1.0
        shown = self.book.depth(2)[0 if side > 0 else 1, :, 0]
        gap = abs(shown[0] - shown[1]) if shown[1] else 1e9
        return self.t["take_factor"][
            bucket(self.t["take_edges"], self.ask - self.bid), bucket(self.t["gap_edges"], gap)
        ]

    def spawn(self, kind, side, order, price, size, quiet=False):
        mean, left = self.t["mean"][kind], self.rng.random()
        chance, count = math.exp(-mean), 0
        while left > chance and count < 64:
            left -= chance
            count += 1
            chance *= mean / count
        for _ in range(count):
            draw, shares = self.rng.random(), self.t["children"][kind]
            k = min(sum(share <= draw for share in shares), len(shares) - 1)
            target, relative, delay = k // 14, k // 7 % 2, k % 7
            wait = self.rng.exponential() / self.t["decay"][delay - 1] if delay else 0.0
            near = {LEAVE: 1, ADD: 2, TAKE: 0, PARTIAL: 0}[kind] if relative == 0 else 0
            if target == TAKE and quiet:
                continue
            self.agenda.push(self.now + wait, target, -side if relative else side, near, order, price, size)

    def between(self, quantiles):
        x = self.rng.random() * (len(quantiles) - 1)
        return quantiles[int(x)] + (x - int(x)) * (quantiles[int(x) + 1] - quantiles[int(x)])

    def pick(self, quantiles):
        draw = self.rng.random()
        part = int(40 * draw)
        return int(quantiles[part if part < 39 else 39 + int(40 * (40 * draw - 39))])

    def behind(self, side, price):
        return self.bid - price if side > 0 else price - self.ask

    def place(self, side, where):
        spread, own = self.ask - self.bid, self.bid if side > 0 else self.ask
        state = bucket(self.t["spread_edges"], spread)
        if where == 0 and spread > 1:
            better = 1
            if self.rng.random() >= self.t["improve"][state] and spread > 2:
                better = min(2 + math.floor(self.between(self.t["inside"][state]) * (spread - 2)), spread - 1)
            return own + side * better, 0
        if where < 2:
            return own, 1
        return own - side * max(math.floor(self.between(self.t["behind"][state]) + 0.5), 1), 2

    def add(self, side, near, old_price, old_size):
        if near == 1 and self.rng.random() < self.t["stay"][0]:
            price = self.bid if side > 0 else self.ask
            if not 0 < side * (price - old_price) <= 5 or self.rng.random() >= self.t["join"][0]:
                price = old_price + side * math.floor(self.between(self.t["shift"]) + 0.5)
            away = self.behind(side, price)
            if -away >= self.ask - self.bid:
                return
            where = 0 if away < 0 else 1 if away == 0 else 2
        else:
            draw, shares = self.rng.random(), self.t["place"][bucket(self.t["spread_edges"], self.ask - self.bid)]
            where = bucket(shares, draw)
            if where == 0:
                side = self.toward(side, 1)
            price, where = self.place(side, where)
        quantity = self.pick(self.t["own_size"][where])
        if near > 0 and old_size > 0 and self.rng.random() < self.t["stay"][near]:
            quantity = old_size
        away = self.behind(side, price)
        order = self.send(LIMIT, side, price, quantity)
        if order in self.book.orders:
            self.live.append(order)
            self.born[order] = self.now
            kind = where if where < 2 else 2 + bucket(self.t["life_edges"], away)
            life = math.exp(self.between(self.t["life"][kind][bucket(self.t["life_sizes"], quantity)]))
            self.agenda.push(self.now + life, EXPIRE, side, 0, order, price, quantity)
            self.spawn(ADD, side, order, price, quantity)

    def leave(self, side):
        """Cancel an order of a wave; its size is what is left of it, as in the kernel."""
        total, chosen, k = 0.0, None, 0
        while k < len(self.live):
            order = self.book.orders.get(self.live[k])
            if order is None:
                last = self.live.pop()
                if k < len(self.live):
                    self.live[k] = last
                continue
            k += 1
            away = self.behind(side, order.price)
            if order.side == side and away <= self.t["window"][0]:
                where = 0 if away < 1 else 1 + bucket(self.t["life_edges"], away)
                age = bucket(self.t["pick_ages"], self.now - self.born[order.order_id])
                chance = self.t["picked"][where][bucket(self.t["life_sizes"], order.quantity)][age]
                total += chance
                if self.rng.random() * total < chance:
                    chosen = order.order_id
        if chosen is not None:
            self.remove(chosen)

    def remove(self, order_id):
        order = self.book.orders[order_id]
        side, price, size = order.side, order.price, order.quantity
        self.book.cancel(order_id)
        self.write(CANCEL, side, order_id, price, 0, size)
        self.spawn(LEAVE, side, order_id, price, size)

    def take(self, side):
        price, queue = (int(x) for x in self.book.depth(1)[0 if side > 0 else 1, 0])
        if queue == 0:
            return
        quantity = self.take_quantity(queue)
        pulled = self.pull()
        order, sign = self.send(MARKET, -side, 0, quantity), -side
        expected = self.p[GAP_SIGN] * pulled + sum(
            w * m for w, m in zip(self.t["sign_weight"], self.means, strict=True)
        )
        self.value += self.t["worth"][0] * (sign - min(max(expected, -1.0), 1.0))
        self.means = [m + (1.0 - d) * (sign - m) for m, d in zip(self.means, self.t["sign_decay"], strict=True)]
        self.spawn(TAKE if quantity >= queue else PARTIAL, side, order, price, quantity, self.is_wall(queue))

    def is_wall(self, queue):
        return queue > max(max(self.t["take_size"]), *(max(sizes) for sizes in self.t["size"]))

    def take_quantity(self, queue):
        if self.is_wall(queue):
            return self.pick(self.t["take_size"])
        chances, draw = self.t["take"][bucket(self.t["queue_edges"], queue)], self.rng.random()
        if draw < chances[0]:
            return queue
        if draw < chances[1]:
            return min(self.pick(self.t["take_size"]), max(queue - 1, 1))
        return queue + self.pick(self.t["take_size"])

    def send(self, kind, side, price, quantity):
        order, self.count = self.count, self.count + 1
        done = self.book.place(kind, order, side, price, quantity, 0).quantity
        self.write(kind, side, order, price, quantity, done)
        return order

    def write(self, kind, side, order, price, quantity, done):
        self.events.append((math.floor(self.now * 1e9), kind, side, order, price, quantity, done))
        self.bid, self.ask = self.book.best_bid or self.bid, self.book.best_ask or self.ask
        if self.bid < self.ask:
            self.mid = (self.bid + self.ask) / 2
