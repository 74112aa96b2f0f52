# One image for all services: the command selects one.
FROM node:22-slim
ENV NODE_ENV=production
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev && npm cache clean --force
COPY gen gen
COPY prisma prisma
COPY platform platform
COPY services services
RUN mkdir data && chown node:node data
USER node
# Listen on all addresses: the loopback of a container cannot be reached from outside.
ENV LUCKY_HOST=0.0.0.0
EXPOSE 9191
CMD ["node", "--disable-warning=ExperimentalWarning", "services/all.ts"]
