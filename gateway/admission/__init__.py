"""
Who may, and how much to reserve.

1. `authentication` turns the bearer key into an account and a key. A typo is refused without any look-up.
2. `standing` asks whether the key may at all, without reserving anything: before a large body is read, and for lists.
3. `surcharges` refuses what costs more than its tokens. `reservation_bound` says what a request can cost at most, from
   the `token_estimate` of its input.
4. `admission` asks Redis once whether limits and caps allow that, and reserves it. `refusals` words what stands in
   the way, `allowances` says what is left.
"""
