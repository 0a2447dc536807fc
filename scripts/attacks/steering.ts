// oxlint-disable no-control-regex
/** Characters that a terminal obeys, or that change the direction or end of a line. */
export const steering: RegExp = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e]/
