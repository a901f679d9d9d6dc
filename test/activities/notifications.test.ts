/** The confirmation as a mail server receives it. */
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { SMTPServer } from 'smtp-server';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createNotifications } from '../../activities/notifications.ts';
import { log } from '../support/stores.ts';

interface Mail {
  to: string[];
  content: string;
}

const mails: Mail[] = [];
let isBusy = false;
const server = new SMTPServer({
  disabledCommands: ['AUTH', 'STARTTLS'],
  onMailFrom: (_address, _session, done) => done(isBusy ? new Error('try later') : undefined),
  onData(stream, { envelope }, done) {
    void text(stream).then((content) => {
      mails.push({ to: envelope.rcptTo.map(({ address }) => address), content });
      done();
    });
  },
});

let smtpUrl: string;
beforeAll(async () => {
  const listening = server.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const address = listening.address();
  if (address === null || typeof address === 'string') throw new Error('the mail server has no port');
  smtpUrl = `smtp://127.0.0.1:${address.port}`;
});
afterAll(() => new Promise<void>((resolve) => server.close(resolve)));

const confirmation = {
  booking_id: 'bkg_1',
  user_id: 'ann@example.com',
  event_id: 'tempest',
  seat_ids: ['A1', 'A2'],
  price: { amount: 17_050, currency: 'EUR' },
};

test('the buyer gets one mail with the booking, the seats and the price, under an id of its own', async () => {
  await createNotifications(smtpUrl, 'box-office@localhost', log).sendConfirmation(confirmation);
  expect(mails).toHaveLength(1);
  const [mail] = mails;
  expect(mail?.to).toEqual(['ann@example.com']);
  expect(mail?.content).toContain('Message-ID: <bkg_1@holdfast>');
  expect(mail?.content).toContain('Booking bkg_1');
  expect(mail?.content).toContain('A1, A2');
  expect(mail?.content).toMatch(/Paid: .*170\.50/);
});

test('a user id that looks like two addresses sends no mail to either of them', async () => {
  const { sendConfirmation } = createNotifications(smtpUrl, 'box-office@localhost', log);
  const user_id = 'ann@example.com,eve@example.com';
  await sendConfirmation({ ...confirmation, booking_id: 'bkg_3', user_id }).catch(() => undefined);
  const to = mails.filter(({ content }) => content.includes('<bkg_3@holdfast>')).flatMap((mail) => mail.to);
  expect(to).not.toContain('eve@example.com');
  expect(to).not.toContain('ann@example.com');
});

test('a mail that the server does not take is reported, so that it is tried again', async () => {
  const { sendConfirmation } = createNotifications(smtpUrl, 'box-office@localhost', log);
  isBusy = true;
  await expect(sendConfirmation({ ...confirmation, booking_id: 'bkg_2' })).rejects.toThrow('try later');
  isBusy = false;
  await sendConfirmation({ ...confirmation, booking_id: 'bkg_2' });
  expect(mails.filter(({ content }) => content.includes('<bkg_2@holdfast>'))).toHaveLength(1);
});
