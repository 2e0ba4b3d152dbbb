/** Log lines for reading. */
export { readable } from '../domain/log-text.js';
