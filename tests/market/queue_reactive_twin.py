"""The plain Python twin of `markov_flow.run_queue_reactive` without seats: it shares book and clock of `FittedTwin`."""

import math

from difffinance.market.flow_state import INTRADAY, LEAN, PULL, SESSION, VALUE_SD
from difffinance.market.matching import CANCEL, LIMIT, MARKET
from tests.market.fitted_twin import FittedTwin, bucket


class QueueReactiveTwin(FittedTwin):
    """Runs from time 0 on a book of its own and writes (ts, kind, side, id, price, quantity, done) down."""

    def run(self, until):
        most = 1.0 + 2.0 * self.p[INTRADAY]
        while True:
            gap = (self.value - math.log(self.mid)) / self.p[PULL]
            lean, state = self.p[LEAN] * math.tanh(gap), bucket(self.t["spread_edges"], self.ask - self.bid)
            rates = {side: self.side_rates(state, side, side * lean) for side in (1, -1)}
            deep = self.t["deep_cancel"][state] * len(self.live)
            total = sum(rates[1]) + sum(rates[-1]) + deep
            wait = self.rng.exponential() / (total * most)
            passed = min(wait, until - self.now)
            self.value += self.p[VALUE_SD] * math.sqrt(passed) * self.rng.standard_normal()
            self.now = self.now + wait if passed == wait else until
            if passed < wait:
                return
            x = self.now / self.p[SESSION]
            if self.rng.random() * most > 1.0 + self.p[INTRADAY] * (12.0 * (x - 0.5) ** 2 - 1.0):
                continue
            self.happen(self.rng.random() * total - deep, rates)

    def side_rates(self, state, side, lean):
        queue = self.book.depth(1)[0 if side > 0 else 1, 0, 1]
        fitted = self.t["state_rates"][state, bucket(self.t["queue_edges"], queue)]
        return [rate * (1.0 + lean if k < 3 else 1.0 - lean) for k, rate in enumerate(fitted)]

    def happen(self, draw, rates):
        if draw < 0.0:
            self.cancel_deep()
            return
        side = 1 if draw < sum(rates[1]) else -1
        draw, k = draw if side > 0 else draw - sum(rates[1]), 0
        while k < 4 and draw >= rates[side][k]:
            draw -= rates[side][k]
            k += 1
        queue = int(self.book.depth(1)[0 if side > 0 else 1, 0, 1])
        if k < 3:
            price, where = self.place(side, k)
            order = self.send(LIMIT, side, price, self.pick(self.t["size"][where]))
            if order in self.book.orders:
                self.live.append(order)
        elif k == 4 and queue:
            self.send(MARKET, -side, 0, self.take_quantity(queue))
        elif queue:
            best = self.book.best_bid if side > 0 else self.book.best_ask
            self.withdraw([order for order in self.book.priority(side) if order.price == best][-1])

    def cancel_deep(self):
        order = self.draw_live()
        if order is not None and order.price != (self.bid if order.side > 0 else self.ask):
            self.withdraw(order)

    def draw_live(self):
        """Return one of the orders on the list, or None for a dead one, which leaves it."""
        k = int(self.rng.random() * len(self.live))
        order = self.book.orders.get(self.live[k])
        if order is None:
            last = self.live.pop()
            if k < len(self.live):
                self.live[k] = last
        return order

    def withdraw(self, order):
        side, price, size = order.side, order.price, order.quantity
        self.book.cancel(order.order_id)
        self.write(CANCEL, side, order.order_id, price, 0, size)
