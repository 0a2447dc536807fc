/** Something the module did or asked for that cannot be: ends this call and nothing else. The message is for the caller. */
export class GuestFault extends Error {
  override readonly name = "GuestFault"
}

/** A call whose answer would be larger than its limit. */
export class ResultTooLarge extends Error {
  override readonly name = "ResultTooLarge"
}
