import { createTransport, type Transporter } from 'nodemailer';
import type { Logger } from 'pino';
import type { Money } from '../domain/model.ts';

export interface Confirmation {
  booking_id: string;
  user_id: string;
  event_id: string;
  seat_ids: string[];
  price: Money;
}

const MAIL_TIMEOUT_MS = 10_000;

/** A user id that is an address gets the mail there, however it is spelt: it is one address, never a list of several. */
const addressOf = (userId: string) => ({ name: '', address: userId.includes('@') ? userId : `${userId}@localhost` });

function inWords({ amount, currency }: Money): string {
  const format = new Intl.NumberFormat('en', { style: 'currency', currency });
  return format.format(amount / 10 ** (format.resolvedOptions().maximumFractionDigits ?? 2));
}

/** The activities of the `notifications` task queue. Without an SMTP server a mail goes to the log. */
export function createNotifications(smtpUrl: string | undefined, from: string, log: Logger) {
  const transport: Transporter | undefined =
    smtpUrl === undefined
      ? undefined
      : createTransport({
          url: smtpUrl,
          connectionTimeout: MAIL_TIMEOUT_MS,
          greetingTimeout: MAIL_TIMEOUT_MS,
          socketTimeout: MAIL_TIMEOUT_MS,
        });

  return {
    /** Mails the buyer. A repeat carries the same Message-ID, by which mailboxes tell it from a second mail. */
    async sendConfirmation(confirmation: Confirmation): Promise<void> {
      const { booking_id, user_id, event_id, seat_ids, price } = confirmation;
      const mail = {
        from,
        to: addressOf(user_id),
        subject: `Your seats for ${event_id}`,
        messageId: `<${booking_id}@holdfast>`,
        text: `Booking ${booking_id}\nSeats: ${seat_ids.join(', ')}\nPaid: ${inWords(price)}\n`,
      };
      if (transport) await transport.sendMail(mail);
      else log.info({ mail: { subject: mail.subject, message_id: mail.messageId } }, 'mail');
    },
  };
}
